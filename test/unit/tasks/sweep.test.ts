// What the sweep takes for old is not moved by somebody who sets the clock forward.
import { afterEach, expect, setSystemTime, test } from "bun:test";
import { hours, seconds } from "../../../src/lib/duration.ts";
import { cautiousClock } from "../../../src/tasks/sweep.ts";

afterEach(() => void setSystemTime());

test.each([hours(1_000), -hours(1_000)])("a clock that is set by %d ms makes no file older", (by) => {
  const before = Date.now();
  const now = cautiousClock();
  setSystemTime(new Date(before + by));
  expect(now()).toBeLessThanOrEqual(before + seconds(5));
});
