// A scope aborts with the first of its reasons, and once disposed nothing holds it or reaches it.
import { expect, jest, spyOn, test } from "bun:test";
import { abortScope } from "../../../src/lib/abort-scope.ts";
import { milliseconds, minutes } from "../../../src/lib/duration.ts";
import { until } from "../../support/until.ts";

const nameOf = ({ reason }: AbortSignal): unknown => (reason as Error).name;

/** A source that counts who listens. */
function watched() {
  const controller = new AbortController();
  const { signal } = controller;
  const [added, removed] = [spyOn(signal, "addEventListener"), spyOn(signal, "removeEventListener")];
  return {
    signal,
    abort: (reason: unknown) => controller.abort(reason),
    listeners: () => added.mock.calls.length - removed.mock.calls.length,
  };
}

test("it aborts with the first of its sources, for the same reason", () => {
  const [one, two] = [watched(), watched()];
  using scope = abortScope([one.signal, two.signal]);
  expect(scope.signal.aborted).toBe(false);
  two.abort("two");
  one.abort("one");
  expect(scope.signal.reason).toBe("two");
});

test("it is aborted from the start when a source is", () => {
  using scope = abortScope([new AbortController().signal, AbortSignal.abort("before")], minutes(1));
  expect(scope.signal.reason).toBe("before");
});

test("after its time it aborts with a TimeoutError", async () => {
  using scope = abortScope([], milliseconds(1));
  await until("it aborts", () => scope.signal.aborted);
  expect(nameOf(scope.signal)).toBe("TimeoutError");
});

test("by hand it aborts with an AbortError, or the reason that is given", () => {
  using one = abortScope([]);
  one.abort();
  expect(nameOf(one.signal)).toBe("AbortError");
  using two = abortScope([]);
  two.abort("enough");
  expect(two.signal.reason).toBe("enough");
});

test.each(["disposal", "abort"])("after its %s it listens to no source and no timer", async (end) => {
  jest.useFakeTimers();
  const source = watched();
  const scope = abortScope([source.signal], milliseconds(1));
  if (end === "abort") scope.abort("first");
  else scope[Symbol.dispose]();
  expect(source.listeners()).toBe(0);
  source.abort("late");
  jest.advanceTimersByTime(milliseconds(5));
  jest.useRealTimers();
  expect(scope.signal.aborted).toBe(end === "abort");
  if (end === "abort") expect(scope.signal.reason).toBe("first");
});
