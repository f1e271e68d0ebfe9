// Reports: the newest only, only what the server does not know, delivered in the end, and never in a storm.
import { expect, test } from "bun:test";
import { AgentError } from "../../../../src/lib/agent-error.ts";
import { milliseconds, seconds } from "../../../../src/lib/duration.ts";
import { silent } from "../../../../src/platform/log.ts";
import { steadyNow } from "../../../../src/lib/clock.ts";
import type { ProjectStatus } from "../../../../src/protocol/caravanserai/resources.ts";
import { createReports, dueReport } from "../../../../src/projects/node/reports.ts";
import { timePasses, runByQuickClock } from "../../../support/fake-time.ts";
import { until } from "../harness.ts";

runByQuickClock();

const RUNNING: ProjectStatus = {
  phase: "Running",
  reason: "ContainersRunning",
  message: "Containers running: web",
};
const FAILED: ProjectStatus = { phase: "Failed", reason: "ContainerCrashed", message: "web(exit=1)" };

test("only what differs from the server's list is due", () => {
  const listed = { phase: "Scheduled", conditions: [], askedAt: 10 };
  expect(dueReport(RUNNING, listed, undefined)).toEqual(RUNNING);
  expect(dueReport(RUNNING, { ...listed, phase: "Running" }, undefined)).toBeUndefined();
  expect(dueReport(undefined, listed, undefined)).toBeUndefined();
});

test("what the server has taken is due again only when a later list does not know it", () => {
  const delivered = { report: RUNNING, at: 20 };
  expect(dueReport(RUNNING, { phase: "Scheduled", conditions: [], askedAt: 10 }, delivered)).toBeUndefined();
  expect(
    dueReport(RUNNING, { phase: "Scheduled", conditions: [], askedAt: undefined }, delivered),
  ).toBeUndefined();
  expect(dueReport(RUNNING, { phase: "Scheduled", conditions: [], askedAt: 30 }, delivered)).toEqual(RUNNING);
  expect(dueReport(FAILED, { phase: "Scheduled", conditions: [], askedAt: 10 }, delivered)).toEqual(FAILED);
});

test("other words about the phase that is listed are due once, unless the server shows them already", () => {
  const listed = { phase: "Failed", conditions: [], askedAt: 30 };
  expect(dueReport(FAILED, listed, undefined)).toEqual(FAILED);
  expect(dueReport(FAILED, listed, { report: FAILED, at: 20 })).toBeUndefined();
  expect(dueReport(FAILED, { ...listed, conditions: [FAILED] }, undefined)).toBeUndefined();
  const other: ProjectStatus = { ...FAILED, message: "db(exit=2)" };
  expect(dueReport(other, { ...listed, conditions: [FAILED] }, { report: FAILED, at: 20 })).toEqual(other);
});

test("the same words are due again when they stood there before the specification changed", () => {
  const listed = { phase: "Failed", conditions: [FAILED], outdated: true, askedAt: 30 };
  expect(dueReport(FAILED, listed, undefined)).toEqual(FAILED);
  expect(dueReport(FAILED, listed, { report: FAILED, at: 20 })).toBeUndefined();
});

test("what stood beside Running is taken back when all is well again, and a list from before does not hide it", () => {
  const trouble: ProjectStatus = { phase: "Running", reason: "ReconcileError", message: "web: pull failed" };
  const listed = { phase: "Running", conditions: [trouble], askedAt: 30 };
  expect(dueReport(RUNNING, listed, undefined)).toEqual(RUNNING);
  expect(dueReport(RUNNING, { ...listed, conditions: [] }, { report: trouble, at: 40 })).toEqual(RUNNING);
  expect(dueReport(RUNNING, { ...listed, conditions: [RUNNING] }, undefined)).toBeUndefined();
  expect(dueReport(RUNNING, listed, { report: RUNNING, at: 20 })).toBeUndefined();
  const before = { phase: "Running", conditions: [], askedAt: 10 };
  expect(dueReport(RUNNING, before, { report: FAILED, at: 20 })).toEqual(RUNNING);
});

function reporting(answer: (nth: number) => Promise<void>) {
  const end = new AbortController();
  const sent: { report: ProjectStatus; at: number }[] = [];
  const report = (_: string, report: ProjectStatus): Promise<void> => {
    sent.push({ report, at: performance.now() });
    return answer(sent.length);
  };
  const reports = createReports(
    { api: { report }, log: silent, maxAge: seconds(5), random: () => 0 },
    end.signal,
  );
  return { reports, sent, [Symbol.asyncDispose]: () => (end.abort(), reports.settled()) };
}

const refused = (): Promise<never> => Promise.reject(new AgentError("net.refused", "connection refused"));
const status = (status: number) => (): Promise<never> =>
  Promise.reject(new AgentError("http.status", "no", { status }));

test("one that fails is sent again after a list that still shows the project as ours, not before", async () => {
  await using it = reporting((nth) => (nth === 1 ? refused() : Promise.resolve()));
  it.reports.submit("shop", RUNNING, steadyNow());
  await timePasses(seconds(4));
  expect(it.reports.state().lastError).toBeDefined();
  expect(it.sent.length).toBe(1);
  it.reports.submit("shop", RUNNING, steadyNow());
  await timePasses(seconds(1));
  expect(it.reports.delivered("shop")).toBeDefined();
  expect(it.sent.length).toBe(2);
  expect(it.reports.state()).toEqual({ waiting: 0, lastError: undefined });
});

test("of what waits only the newest is sent", async () => {
  await using it = reporting((nth) => (nth === 1 ? refused() : Promise.resolve()));
  it.reports.submit("shop", RUNNING, steadyNow());
  await until("it failed", () => it.reports.state().lastError !== undefined);
  it.reports.submit("shop", FAILED, steadyNow());
  await until("it arrived", () => it.reports.delivered("shop") !== undefined);
  expect(it.sent.map(({ report }) => report.phase)).toEqual(["Running", "Failed"]);
});

test("what is not true any more is taken back", async () => {
  await using it = reporting((nth) => (nth === 1 ? refused() : Promise.resolve()));
  it.reports.submit("shop", FAILED, steadyNow());
  await timePasses(milliseconds(50));
  expect(it.reports.state().lastError).toBeDefined();
  it.reports.submit("shop", undefined, steadyNow());
  await timePasses(seconds(4));
  expect(it.sent.length).toBe(1);
  expect(it.reports.state().waiting).toBe(0);
});

test("nothing is sent on a list that an earlier process was given", async () => {
  await using it = reporting(() => Promise.resolve());
  it.reports.submit("shop", RUNNING, undefined);
  await timePasses(seconds(4));
  expect(it.sent).toEqual([]);
});

test("what the server refuses for good is dropped, what it refuses for now is not", async () => {
  await using it = reporting(status(400));
  it.reports.submit("shop", RUNNING, steadyNow());
  await until("it is dropped", () => it.reports.state().waiting === 0);
  await using other = reporting((nth) => (nth === 1 ? status(503)() : Promise.resolve()));
  other.reports.submit("shop", RUNNING, steadyNow());
  await until("it failed", () => other.reports.state().lastError !== undefined);
  expect(other.reports.state().waiting).toBe(1);
});

test("three reports of a project go at once, then about one a second", async () => {
  await using it = reporting(() => Promise.resolve());
  for (let n = 0; n < 5; n++) {
    const before = it.sent.length;
    it.reports.submit("shop", n % 2 === 0 ? RUNNING : FAILED, steadyNow());
    await until("it was sent", () => it.sent.length > before);
  }
  const at = it.sent.map(({ at }) => at);
  expect((at[2] ?? 0) - (at[0] ?? 0)).toBeLessThan(milliseconds(500));
  expect((at[3] ?? 0) - (at[0] ?? 0)).toBeGreaterThan(milliseconds(2_900));
});

test("a message is cut to what fits into a line", async () => {
  await using it = reporting(() => Promise.resolve());
  it.reports.submit("shop", { ...FAILED, message: "x".repeat(5_000) }, steadyNow());
  await until("it was sent", () => it.sent.length === 1);
  expect(it.sent[0]?.report.message.length).toBe(1_000);
});
