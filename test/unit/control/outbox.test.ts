// What stands in the outbox reaches the server, in order, whatever happens to the server, the network or the agent.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { Database } from "bun:sqlite";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AgentError } from "../../../src/lib/agent-error.ts";
import { minutes } from "../../../src/lib/duration.ts";
import { aborted } from "../../../src/lib/until.ts";
import {
  type OutboxSender,
  type Outbox,
  type OutboxEntry,
  createOutbox,
  outboxMigration,
} from "../../../src/control/outbox.ts";
import { openDatabase } from "../../../src/platform/database.ts";
import { quickClock, stopClock } from "../../support/fake-time.ts";
import { turn, until } from "../../support/until.ts";

let root: string;
let life: AbortController;
let databases: Database[];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "noderax-test-"));
  life = new AbortController();
  databases = [];
});
afterEach(async () => {
  life.abort();
  await turn(); // Workers that were pausing take notice before their database goes.
  for (const database of databases) database.close();
  rmSync(root, { recursive: true, force: true });
});

function open(directory = "now"): { outbox: Outbox; database: Database } {
  const database = openDatabase(join(root, directory, "agent.db"), [outboxMigration]);
  databases.push(database);
  return { outbox: createOutbox(database, () => 0.5), database };
}

/** The disk as a crash at this very moment would leave it. */
const crash = (into: string): void => cpSync(join(root, "now"), join(root, into), { recursive: true });

const unreachable = (): AgentError => new AgentError("net.refused", "connection refused");
const unanswered = (): AgentError => new AgentError("net.timeout", "no answer");

/** A sender that fails with these errors, one a try, and then delivers. */
function sender(...failures: (Error | undefined)[]) {
  const tries: OutboxEntry[] = [];
  const deliver: OutboxSender = (entry) => {
    tries.push(entry);
    const failure = failures.shift();
    return failure === undefined ? Promise.resolve() : Promise.reject(failure);
  };
  return { deliver, tries, bodies: () => tries.map(({ body }) => JSON.parse(body) as unknown) };
}

/** Lets a queue that pauses after a failure try again at once. */
async function afterFailure(outbox: Outbox, tries: readonly OutboxEntry[], count: number): Promise<void> {
  await until(`try ${count}`, () => tries.length === count && outbox.state().lastError !== undefined);
  await turn();
  outbox.nudge();
}

test("entries of a queue leave in the order they were pushed, one in flight", async () => {
  const { outbox } = open();
  const seen: unknown[] = [];
  let inFlight = 0;
  for (let k = 0; k < 20; k++) outbox.push("a", "log", { k });
  outbox.start(async ({ body }) => {
    expect(++inFlight).toBe(1);
    for (let turns = k(body) % 3; turns > 0; turns--) await turn();
    inFlight--;
    seen.push(k(body));
  }, life.signal);
  await outbox.drained("a", life.signal);
  expect(seen).toEqual(Array.from({ length: 20 }, (_, n) => n));
});
const k = (body: string): number => (JSON.parse(body) as { k: number }).k;

test("an entry arrives with its kind, its body and the number of tries before", async () => {
  const { outbox } = open();
  const it = sender();
  outbox.start(it.deliver, life.signal);
  outbox.push("a", "completed", { text: "ü\n😀" });
  await outbox.drained("a", life.signal);
  expect(it.tries).toEqual([
    { id: 1, queue: "a", kind: "completed", body: '{"text":"ü\\n😀"}', attempts: 0, doubtful: false },
  ]);
  expect(outbox.state()).toEqual({ waiting: 0, lastError: undefined });
});

test("a queue that gets no answer holds up no other queue", async () => {
  const { outbox } = open();
  outbox.start(({ queue }, signal) => (queue === "stuck" ? aborted(signal) : Promise.resolve()), life.signal);
  outbox.push("stuck", "log", 1);
  outbox.push("b", "log", 2);
  outbox.push("c", "log", 3);
  await outbox.drained("b", life.signal);
  await outbox.drained("c", life.signal);
  expect(outbox.isEmpty("stuck")).toBe(false);
});

test("what fails is tried until it is delivered, and what comes behind it waits", async () => {
  const { outbox } = open();
  const it = sender(unreachable(), new Error("a bug"), unanswered());
  outbox.push("a", "log", "first");
  outbox.push("a", "log", "second");
  outbox.start(it.deliver, life.signal);
  for (const count of [1, 2, 3]) await afterFailure(outbox, it.tries, count);
  await outbox.drained("a", life.signal);
  expect(it.bodies()).toEqual(["first", "first", "first", "first", "second"]);
  expect(it.tries.map(({ attempts }) => attempts)).toEqual([0, 1, 2, 3, 0]);
});

test("between two tries there is a pause, by itself", async () => {
  using _clock = quickClock();
  const { outbox } = open();
  const it = sender(unreachable());
  outbox.push("a", "log", 1);
  outbox.start(it.deliver, life.signal);
  const begin = performance.now();
  await outbox.drained("a", life.signal);
  expect(performance.now() - begin).toBeGreaterThan(700);
  expect(it.tries).toHaveLength(2);
});

test("what comes while the queue is being emptied is delivered too", async () => {
  const { outbox } = open();
  const it = sender();
  outbox.start(async (entry, signal) => {
    if (k(entry.body) < 50) outbox.push("a", "log", { k: k(entry.body) + 1 });
    await it.deliver(entry, signal);
  }, life.signal);
  outbox.push("a", "log", { k: 0 });
  await outbox.drained("a", life.signal);
  expect(it.tries).toHaveLength(51);
});

test("pushed in a transaction that is rolled back, nothing is left and nothing is sent", async () => {
  using clock = stopClock();
  const { outbox, database } = open();
  const it = sender();
  outbox.start(it.deliver, life.signal);
  expect(() =>
    database.transaction(() => {
      outbox.push("a", "log", 1);
      throw new Error("no");
    })(),
  ).toThrow("no");
  await clock.pass(minutes(10));
  expect(outbox.isEmpty("a")).toBe(true);
  expect(it.tries).toEqual([]);
});

test("who waits for a queue is released when the agent stops", async () => {
  const { outbox } = open();
  outbox.push("a", "log", 1);
  const waiting = Promise.all([outbox.drained("a", life.signal), outbox.flushed(life.signal)]);
  life.abort();
  await waiting;
  expect(outbox.isEmpty("a")).toBe(false);
});

test("a disk that is full for a while delays an entry and does not lose it", async () => {
  const { outbox, database } = open();
  const it = sender();
  outbox.push("a", "log", 1);
  database.run(
    "CREATE TRIGGER full BEFORE UPDATE ON outbox BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END",
  );
  outbox.start(it.deliver, life.signal);
  await until("the failure", () => outbox.state().lastError !== undefined);
  expect(outbox.state().lastError).toContain("full");
  expect(it.tries).toEqual([]);
  database.run("DROP TRIGGER full");
  await turn();
  outbox.nudge();
  await outbox.drained("a", life.signal);
  expect(it.tries).toMatchObject([{ attempts: 0, doubtful: false }]);
});

describe("doubt", () => {
  test.each([
    ["was not received", false, unreachable()],
    ["was answered with a refusal for now", false, new AgentError("http.status", "", { status: 429 })],
    ["got no answer", true, unanswered()],
    ["broke off", true, new AgentError("net.reset", "")],
    ["was answered with 500", true, new AgentError("http.status", "", { status: 500 })],
    ["was answered with something else", true, new AgentError("http.answer", "")],
  ])("a try that %s: the next one is doubtful: %p", async (_, doubtful, failure) => {
    const { outbox } = open();
    const it = sender(failure);
    outbox.push("a", "log", 1);
    outbox.start(it.deliver, life.signal);
    await afterFailure(outbox, it.tries, 1);
    await outbox.drained("a", life.signal);
    expect(it.tries.map((entry) => entry.doubtful)).toEqual([false, doubtful]);
  });

  test("once there, stays: a refused connection later says nothing about the try before", async () => {
    const { outbox } = open();
    const it = sender(unanswered(), unreachable());
    outbox.push("a", "log", 1);
    outbox.start(it.deliver, life.signal);
    for (const count of [1, 2]) await afterFailure(outbox, it.tries, count);
    await outbox.drained("a", life.signal);
    expect(it.tries.map(({ doubtful }) => doubtful)).toEqual([false, true, true]);
  });

  test("a try that we broke off ourselves is doubtful after the restart", async () => {
    const { outbox } = open();
    outbox.push("a", "log", 1);
    let trying = false;
    outbox.start(async (_, signal) => {
      trying = true;
      await aborted(signal);
      throw new AgentError("aborted", "interrupted");
    }, life.signal);
    await until("the try", () => trying);
    life.abort();
    await turn();
    life = new AbortController();
    const it = sender();
    const { outbox: next } = open();
    next.start(it.deliver, life.signal);
    await next.drained("a", life.signal);
    expect(it.tries).toMatchObject([{ attempts: 1, doubtful: true }]);
  });
});

describe("a crash", () => {
  const resume = async (directory: string): Promise<OutboxEntry[]> => {
    const it = sender();
    const { outbox } = open(directory);
    outbox.start(it.deliver, life.signal);
    await outbox.flushed(life.signal);
    return it.tries;
  };

  test("after the push: the entry is sent as if nothing had been", async () => {
    open().outbox.push("a", "log", 1);
    crash("later");
    expect(await resume("later")).toMatchObject([{ attempts: 0, doubtful: false }]);
  });

  test("while it is sent, or before the answer was noted: the entry is sent again, in doubt", async () => {
    const { outbox } = open();
    outbox.push("a", "log", "first");
    outbox.push("a", "log", "second");
    outbox.start(({ id }) => {
      crash(`sending-${id}`);
      return Promise.resolve();
    }, life.signal);
    await outbox.drained("a", life.signal);
    crash("delivered");
    expect(await resume("sending-1")).toMatchObject([
      { body: '"first"', attempts: 1, doubtful: true },
      { body: '"second"', attempts: 0, doubtful: false },
    ]);
    expect(await resume("sending-2")).toMatchObject([{ body: '"second"', attempts: 1, doubtful: true }]);
    expect(await resume("delivered")).toEqual([]);
  });

  test("during the pause after a failure: the doubt is as the failure left it", async () => {
    const { outbox } = open();
    const it = sender(unreachable());
    outbox.push("a", "log", 1);
    outbox.start(it.deliver, life.signal);
    await until("the failure", () => outbox.state().lastError !== undefined);
    crash("pausing");
    expect(await resume("pausing")).toMatchObject([{ attempts: 1, doubtful: false }]);
  });
});
