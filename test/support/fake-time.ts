// Time that passes only as a test lets it: `performance.now`, `Date`, `setTimeout`, `Bun.sleep`, `AbortSignal.timeout`.
// Sockets, files and processes go on by the real clock. Take it first in a test: a moment that was read before cannot be
// compared with one read after. Not for concurrent tests, since there is one clock in a process.
import { afterEach, beforeEach, jest } from "bun:test";
import type { Duration } from "../../src/lib/duration.ts";

/** What was started by a timer runs: promises are settled, and sockets have their turn. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export interface StoppedClock extends Disposable {
  /** Lets `span` pass, timer by timer, each followed by what it started. */
  pass(span: Duration): Promise<void>;
  /** Lets time pass while `work` waits for sockets and short timers alike, a millisecond a turn of the loop. */
  during<T>(work: Promise<T>): Promise<T>;
}

/** Stops the clock until it is disposed: for tests that also wait for sockets or files. */
export function stopClock(): StoppedClock {
  jest.useFakeTimers();
  return {
    async pass(span) {
      const over = new AbortController();
      await settle();
      setTimeout(() => over.abort(), span);
      while (!over.signal.aborted) {
        jest.advanceTimersToNextTimer();
        await settle();
      }
    },
    async during(work) {
      const over = new AbortController();
      const end = (): void => over.abort();
      void work.then(end, end);
      while (!over.signal.aborted) {
        jest.advanceTimersByTime(1);
        await settle();
      }
      return work;
    },
    [Symbol.dispose]: () => void jest.useRealTimers(),
  };
}

/**
 * Lets time pass as fast as the work in it is done, until it is disposed: an hour takes what its timers cost. For tests
 * that wait for timers alone; with a socket or a file, time would be over before its answer.
 */
export function quickClock(): Disposable {
  jest.useFakeTimers();
  const over = new AbortController();
  void (async () => {
    for (;;) {
      await settle();
      if (over.signal.aborted) return;
      jest.advanceTimersToNextTimer();
    }
  })();
  return {
    [Symbol.dispose]() {
      over.abort();
      jest.useRealTimers();
    },
  };
}

/** Waits for `span` of a quick clock: for what must not happen within it. */
export function timePasses(span: Duration): Promise<void> {
  if (!jest.isFakeTimers()) throw new Error("a test waits for real time: take a quick clock first");
  return Bun.sleep(span);
}

/** Every test of the file runs by a quick clock. */
export function runByQuickClock(): void {
  let clock: Disposable;
  beforeEach(() => void (clock = quickClock()));
  afterEach(() => clock[Symbol.dispose]());
}
