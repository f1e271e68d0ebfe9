// Whatever duration is written can be read back, and no text makes the reader slow or throws.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { days, formatDuration, parseDuration } from "../../src/lib/duration.ts";

test("every whole number of milliseconds survives being written and read", () => {
  const year = days(365);
  fc.assert(
    fc.property(fc.integer({ min: -year, max: year }), (duration) => {
      expect(parseDuration(formatDuration(duration))).toBe(duration);
    }),
    { numRuns: 2_000 },
  );
});

test("every number of nanoseconds of a day survives being written and read", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: days(1) * 1e6 }), (nanoseconds) => {
      const back = parseDuration(formatDuration(nanoseconds / 1e6));
      expect(Math.round((back ?? 0) * 1e6)).toBe(nanoseconds);
    }),
    { numRuns: 2_000 },
  );
});

test("any text is read or refused, never thrown at", () => {
  const almost = fc.string({ unit: fc.constantFrom("1", "0", ".", "-", "s", "m", "h", "n", "u", "µ", " ") });
  fc.assert(
    fc.property(fc.oneof(almost, fc.string()), (text) => {
      const duration = parseDuration(text);
      expect(duration === undefined || Number.isFinite(duration)).toBe(true);
    }),
  );
});
