// Pauses grow to their cap, are spread over a fleet, and are never so short that a loop spins.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { backoff, jitter } from "../../../src/lib/backoff.ts";
import { minutes, seconds } from "../../../src/lib/duration.ts";

const policy = { base: seconds(1), cap: seconds(15) };
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

test("pauses double from the base to the cap", () => {
  const longest = [1, 2, 3, 4, 5, 6].map((attempt) => backoff(policy, attempt, () => 1) / seconds(1));
  expect(longest).toEqual([1, 2, 4, 8, 15, 15]);
});

test("every pause lies between half of its ceiling and the ceiling, however long an outage lasts", () => {
  fc.assert(
    fc.property(fc.integer({ min: -3, max: 1e9 }), random, (attempt, drawn) => {
      const ceiling = backoff(policy, attempt, () => 1);
      const pause = backoff(policy, attempt, () => drawn);
      expect(ceiling).toBeLessThanOrEqual(policy.cap);
      expect(pause).toBeGreaterThanOrEqual(ceiling / 2);
      expect(pause).toBeGreaterThanOrEqual(policy.base / 2);
      expect(pause).toBeLessThanOrEqual(ceiling);
    }),
  );
});

test("jitter stays within its share of the period, on both sides", () => {
  expect([jitter(minutes(1), 0.1, () => 0), jitter(minutes(1), 0.1, () => 0.5)]).toEqual([54_000, 60_000]);
  fc.assert(
    fc.property(random, (drawn) => {
      const pause = jitter(minutes(1), 0.1, () => drawn);
      expect(pause).toBeGreaterThanOrEqual(54_000);
      expect(pause).toBeLessThanOrEqual(66_000);
    }),
  );
});
