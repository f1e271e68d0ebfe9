// The watchdog finds loops that hang, and never takes an unreachable server for one.
import { describe, expect, test } from "bun:test";
import { missingForHealth } from "../../../src/agent/health.ts";
import type { Status } from "../../../src/agent/status.ts";
import { hangingAfter, hangingLoops, watchLoops } from "../../../src/agent/watchdog.ts";
import { steadyNow } from "../../../src/lib/clock.ts";
import { hours, milliseconds, minutes, seconds } from "../../../src/lib/duration.ts";
import { type LoopRecord, LoopRegistry, loop } from "../../../src/lib/loop.ts";
import { until } from "../../support/until.ts";

const record = (change: Partial<LoopRecord>): LoopRecord => ({
  name: "heartbeat",
  lastStart: 0,
  lastSuccess: undefined,
  lastError: undefined,
  consecutiveFailures: 0,
  bounded: true,
  nextAt: undefined,
  note: "",
  ...change,
});
const LIMIT = minutes(5);

test.each<[string, Partial<LoopRecord>, boolean]>([
  ["a round that takes a minute", { lastStart: -minutes(1) }, false],
  ["a bounded round that takes ten minutes", { lastStart: -minutes(10) }, true],
  ["a round that may wait and takes ten minutes", { lastStart: -minutes(10), bounded: false }, false],
  ["a loop that has not begun", { lastStart: undefined }, false],
  ["a pause of an hour that is not over", { lastStart: -minutes(50), nextAt: minutes(10) }, false],
  ["a round that is overdue by ten minutes", { nextAt: -minutes(10), bounded: false }, true],
  ["a thousand failures in a row", { nextAt: seconds(20), consecutiveFailures: 1_000 }, false],
])("%s", (_, change, hangs) => {
  expect(hangingLoops([record(change)], 0, LIMIT)).toEqual(hangs ? ["heartbeat"] : []);
});

test("a long request_timeout makes for a longer limit", () => {
  expect(hangingAfter(seconds(10))).toBe(minutes(5));
  expect(hangingAfter(minutes(10))).toBe(minutes(40));
});

describe("watching", () => {
  const status = (): Status => ({ noderax: null, caravanserai: null }) as Status;

  test("speaks thrice in the time that systemd allows, while a loop fails every round", async () => {
    const registry = new LoopRegistry();
    const stop = new AbortController();
    const failing = loop(
      { name: "heartbeat", every: hours(1), bounded: true, retry: { base: 1, cap: 1 } },
      () => Promise.reject(new Error("the server is away")),
      registry,
      stop.signal,
    );
    const heard: string[] = [];
    const manager = { notify: (text: string) => void heard.push(text), watchdog: milliseconds(30) };
    const watched = watchLoops({ loops: () => registry.all(), status }, manager, LIMIT, stop.signal);
    await until("it has spoken ten times", () => heard.length >= 10);
    stop.abort();
    await Promise.all([watched, failing]);
    expect(heard[0]).toStartWith("WATCHDOG=1\nSTATUS=");
  });

  test("falls silent and rejects, with its name, when a loop hangs", async () => {
    const heard: string[] = [];
    const manager = { notify: (text: string) => void heard.push(text), watchdog: undefined };
    const stuck = record({ name: "metrics", lastStart: steadyNow() - minutes(10) });
    const watched = watchLoops(
      { loops: () => [stuck], status },
      manager,
      LIMIT,
      new AbortController().signal,
    );
    expect(watched).rejects.toThrow("metrics made no progress for 5 min");
    // The unit does not restart after 2 and 3 (RestartPreventExitStatus).
    expect(watched).rejects.toMatchObject({ code: "agent.hangs", exit: 1 });
    expect(heard).toEqual([]);
  });
});

describe("health", () => {
  const node = (last_success: string | null, message?: string): Status["loops"][number] => ({
    name: "node",
    plane: "caravanserai",
    note: "",
    last_success,
    last_error: message === undefined ? null : { at: "", message },
    consecutive_failures: 0,
  });
  const of = (standing: string | undefined, loops: Status["loops"] = []): Status =>
    ({ noderax: standing === undefined ? null : { standing }, loops }) as unknown as Status;

  test.each<[string, Status, readonly ("noderax" | "caravanserai")[], string | undefined]>([
    ["an accepted node", of("ok"), ["noderax"], undefined],
    ["a node without identity", of("not_enrolled"), ["noderax"], "this machine is not enrolled"],
    ["a node not heard of", of("unknown"), ["noderax"], "the control plane has not accepted the node yet"],
    ["a Caravanserai node", of(undefined, [node("2026-01-01")]), ["caravanserai"], undefined],
    [
      "a Caravanserai server that is away",
      of("ok", [node(null, "refused")]),
      ["noderax", "caravanserai"],
      "the Caravanserai server has not heard of the node yet: refused",
    ],
  ])("%s", (_, status, planes, missing) => {
    expect(missingForHealth(status, planes)).toBe(missing as string);
  });
});
