// Heartbeats leave the work to the session while that keeps the node online, and come back soon after.
import { expect, test } from "bun:test";
import { milliseconds, seconds } from "../../../src/lib/duration.ts";
import { LoopRegistry, Wake } from "../../../src/lib/loop.ts";
import { createAuthState } from "../../../src/identity/auth-state.ts";
import { heartbeats } from "../../../src/identity/heartbeat.ts";
import { silent } from "../../../src/platform/log.ts";
import { quickClock } from "../../support/fake-time.ts";
import { until } from "../../support/until.ts";

function running(every: number, keptOnline?: () => boolean) {
  const registry = new LoopRegistry();
  const end = new AbortController();
  const times: number[] = [];
  const ports = {
    beat: () => Promise.resolve(void times.push(performance.now())),
    auth: createAuthState(() => Promise.resolve(), silent),
    wake: new Wake(),
    registry,
    log: silent,
    ...(keptOnline === undefined ? {} : { keptOnline }),
  };
  const done = heartbeats(ports, every, end.signal);
  return {
    times,
    note: () => registry.all()[0]?.note,
    [Symbol.asyncDispose]: () => (end.abort(), done),
  };
}

test("the first goes out at once while there is no session yet", async () => {
  await using beats = running(seconds(30), () => false);
  await until("one goes out", () => beats.times.length === 1);
});

test("none goes out while the session keeps the node online, and the note says why", async () => {
  let rounds = 0;
  await using beats = running(milliseconds(20), () => ++rounds > 0);
  await until("ten rounds are over", () => rounds > 10);
  expect(beats.times).toEqual([]);
  expect(beats.note()).toContain("the realtime session keeps the node online");
});

test("they begin soon after the session is lost, long before the interval is over", async () => {
  using _clock = quickClock();
  let [kept, rounds] = [true, 0];
  await using beats = running(seconds(60), () => (rounds++, kept));
  await until("a round saw the session", () => rounds > 0);
  kept = false;
  const lost = performance.now();
  await until("one goes out", () => beats.times.length === 1);
  expect((beats.times[0] ?? 0) - lost).toBeLessThan(6_500);
  expect(beats.note()).toBe("");
});
