// Waits that end early: what they resolve with, and that nothing stays behind.
import { expect, jest, test } from "bun:test";
import { seconds } from "../../../src/lib/duration.ts";
import { aborted, orAborted, within } from "../../../src/lib/until.ts";

const never = new Promise<string>(() => {});

test("a wait that a signal ends resolves with undefined, also when the signal aborted before it", async () => {
  const stop = new AbortController();
  const waiting = [orAborted(never, stop.signal), aborted(stop.signal)];
  stop.abort();
  expect(await Promise.all(waiting)).toEqual([undefined, undefined]);
  expect(await Promise.all([orAborted(never, stop.signal), aborted(stop.signal)])).toEqual([
    undefined,
    undefined,
  ]);
});

test("work that ends before the signal or the limit gives its result or its failure", async () => {
  const { signal } = new AbortController();
  const failure = new Error("failed");
  expect(await orAborted(Promise.resolve("done"), signal)).toBe("done");
  expect(await within(Promise.resolve("done"), seconds(60))).toBe("done");
  expect(orAborted(Promise.reject(failure), signal)).rejects.toBe(failure);
  expect(within(Promise.reject(failure), seconds(60))).rejects.toBe(failure);
});

test("a limit ends the wait, and no timer is left of a wait that work ended", async () => {
  jest.useFakeTimers();
  try {
    const late = within(never, seconds(2));
    expect(jest.getTimerCount()).toBe(1);
    jest.advanceTimersByTime(2_000);
    expect(await late).toBeUndefined();
    await within(Promise.resolve(), seconds(60));
    expect(jest.getTimerCount()).toBe(0);
  } finally {
    jest.useRealTimers();
  }
});
