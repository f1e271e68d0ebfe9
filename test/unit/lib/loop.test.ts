// A loop keeps its period, backs off when rounds fail, stops at once, and says the truth about itself.
import { expect, jest, test } from "bun:test";
import { steadyNow } from "../../../src/lib/clock.ts";
import { days, hours, milliseconds, minutes, seconds } from "../../../src/lib/duration.ts";
import { quickClock, stopClock } from "../../support/fake-time.ts";
import { eventually, until } from "../../support/until.ts";
import {
  type LoopOptions,
  type LoopRecord,
  LoopRegistry,
  type Round,
  Wake,
  loop,
  sleep,
} from "../../../src/lib/loop.ts";

/** Runs a loop until its record says that it rests, or for `rounds` rounds. */
function start(options: Partial<LoopOptions>, round: Round) {
  const registry = new LoopRegistry();
  const controller = new AbortController();
  const done = loop(
    {
      name: "beat",
      every: hours(1),
      retry: { base: seconds(1), cap: seconds(30) },
      random: () => 0.5,
      ...options,
    },
    round,
    registry,
    controller.signal,
  );
  const record = registry.all()[0] as LoopRecord; // registered before the first await
  return { registry, record, done, stop: () => controller.abort() };
}

/** Resolves when the loop rests after a round. */
async function rested(record: LoopRecord): Promise<number> {
  return (await eventually("the loop rests", () => record.nextAt)) - (record.lastStart ?? steadyNow());
}

test("the pause after a good round is the period", async () => {
  const { record, stop, done } = start({}, async () => {});
  const pause = await rested(record);
  expect(pause).toBeGreaterThanOrEqual(hours(1));
  expect(pause).toBeLessThan(hours(1) + seconds(1));
  stop();
  await done;
});

test("periods of a fleet are spread by a tenth", async () => {
  const { record, stop, done } = start({ random: () => 0 }, async () => {});
  const pause = await rested(record);
  expect(pause).toBeGreaterThanOrEqual(minutes(54));
  expect(pause).toBeLessThan(minutes(54) + seconds(1));
  stop();
  await done;
});

test("a round may ask for another pause", async () => {
  const { record, stop, done } = start({}, async () => seconds(7));
  expect(Math.floor((await rested(record)) / 1_000)).toBe(7);
  stop();
  await done;
});

test("a loop that begins at random rests a part of its period before the first round", async () => {
  let rounds = 0;
  const { record, stop, done } = start({ phase: "random", random: () => 0.25 }, async () => void rounds++);
  expect((record.nextAt ?? 0) - steadyNow()).toBeGreaterThan(minutes(14.9));
  stop();
  await done;
  expect(rounds).toBe(0);
});

test("failed rounds back off, are counted and remembered; a good one clears the count, not the memory", async () => {
  const pauses: number[] = [];
  let rounds = 0;
  const { record, stop, done } = start(
    {
      retry: { base: milliseconds(2), cap: milliseconds(4) },
      onError: (_, { record }) => void pauses.push(record.consecutiveFailures),
    },
    async () => {
      rounds++;
      if (rounds <= 3) throw new Error(`round ${rounds}`);
    },
  );
  await until("a good round", () => record.lastSuccess !== undefined);
  await rested(record);
  expect(pauses).toEqual([1, 2, 3]);
  expect(record.consecutiveFailures).toBe(0);
  expect(record.lastError?.message).toBe("round 3");
  expect(record.lastSuccess).toBeGreaterThanOrEqual(record.lastError?.at ?? Infinity);
  stop();
  await done;
});

test("the error handler may choose the pause after a failure", async () => {
  const { record, stop, done } = start({ onError: () => minutes(5) }, () => Promise.reject(new Error("no")));
  const pause = await rested(record);
  expect(pause).toBeGreaterThanOrEqual(minutes(5));
  expect(pause).toBeLessThan(minutes(6));
  stop();
  await done;
});

/** A loop that fails `failures` times, pauses for an hour after each, and can be woken. */
function sleeper(failures: number, options: Partial<LoopOptions> = {}) {
  const wake = new Wake();
  let rounds = 0;
  const running = start({ onError: () => hours(1), wake, random: () => 0, ...options }, () => {
    rounds++;
    return rounds <= failures ? Promise.reject(new Error("no")) : Promise.resolve();
  });
  return { ...running, wake, rounds: () => rounds };
}

test("a loop that pauses after a failure is woken, and the pause after the next failure is its own", async () => {
  using clock = stopClock();
  const { record, wake, rounds, stop, done } = sleeper(2);
  await rested(record);
  wake.call();
  await clock.pass(seconds(1));
  expect(rounds()).toBe(2);
  wake.call();
  await clock.pass(minutes(58));
  expect(rounds()).toBe(2);
  await clock.pass(minutes(2));
  expect(rounds()).toBe(3);
  stop();
  await done;
});

test("a loop that is woken begins up to half a second later, so that a fleet does not return at once", async () => {
  using clock = stopClock();
  const { record, wake, rounds, stop, done } = sleeper(1, { random: () => 1 });
  await rested(record);
  wake.call();
  await clock.pass(milliseconds(450));
  expect(rounds()).toBe(1);
  await clock.pass(milliseconds(100));
  expect(rounds()).toBe(2);
  stop();
  await done;
});

test("a loop whose last round was good is not woken", async () => {
  using clock = stopClock();
  const { record, wake, rounds, stop, done } = sleeper(0);
  await rested(record);
  wake.call();
  await clock.pass(minutes(50));
  expect(rounds()).toBe(1);
  stop();
  await done;
});

test("a call while a round still fails counts for the pause after it", async () => {
  const wake = new Wake();
  let rounds = 0;
  const { stop, done } = start({ onError: () => hours(1), wake, random: () => 0 }, () => {
    if (++rounds > 1) return Promise.resolve();
    wake.call();
    return Promise.reject(new Error("no"));
  });
  await until("the second round", () => rounds === 2);
  stop();
  await done;
});

test("a pause that must not end early does not", async () => {
  using clock = stopClock();
  const { record, wake, rounds, stop, done } = sleeper(1, { mayWake: () => false });
  await rested(record);
  wake.call();
  await clock.pass(minutes(50));
  expect(rounds()).toBe(1);
  stop();
  await done;
});

test("an abort ends the pause at once", async () => {
  using _clock = stopClock();
  const { record, stop, done } = start({}, async () => {});
  await rested(record);
  stop();
  await done;
  expect(record.note).toBe("stopped");
});

test("an abort reaches the round, and what the round then throws is no failure", async () => {
  const { record, stop, done } = start({}, (signal) => {
    return new Promise((_, reject) =>
      signal.addEventListener("abort", () => reject(new Error("interrupted")), { once: true }),
    );
  });
  stop();
  await done;
  expect(record).toMatchObject({ consecutiveFailures: 0, lastError: undefined, note: "stopped" });
});

test("loops are listed in the order of their start, one record each", async () => {
  const registry = new LoopRegistry();
  const stopped = AbortSignal.abort();
  for (const name of ["claim", "heartbeat", "claim"])
    await loop(
      { name, every: hours(1), retry: { base: seconds(1), cap: seconds(1) } },
      async () => {},
      registry,
      stopped,
    );
  expect(registry.all().map(({ name }) => name)).toEqual(["claim", "heartbeat"]);
});

test("a pause longer than a timer can wait does not end at once", async () => {
  using clock = stopClock();
  const controller = new AbortController();
  let over = false;
  const pause = sleep(days(1_000), controller.signal).then(() => (over = true));
  await clock.pass(days(20));
  expect(over).toBe(false);
  controller.abort();
  await pause;
});

test("a pause under an aborted signal is none", async () => {
  using _clock = stopClock();
  await sleep(hours(1), AbortSignal.abort());
  expect(jest.getTimerCount()).toBe(0);
});

test("a pause that ended leaves no listener on its signal", async () => {
  using _clock = quickClock();
  const { signal } = new AbortController();
  let listeners = 0;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>) => (listeners++, add(...args));
  signal.removeEventListener = (...args: Parameters<typeof remove>) => (listeners--, remove(...args));
  await sleep(milliseconds(1), signal);
  expect(listeners).toBe(0);
});
