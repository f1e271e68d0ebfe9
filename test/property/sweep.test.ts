// What the sweep leaves: nothing old, never more than the limit, and of what could stay the newest.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { expired } from "../../src/tasks/sweep.ts";

const NOW = 1_000_000;
const directories = fc
  .array(fc.record({ bytes: fc.nat(1_000), at: fc.integer({ min: 0, max: NOW }) }), { maxLength: 40 })
  .map((all) => all.map((one, k) => ({ ...one, name: `task-${k}` })));

test("what is kept is young enough, fits, and is newer than all that goes", () => {
  fc.assert(
    fc.property(directories, fc.nat(NOW), fc.nat(20_000), (all, age, bytes) => {
      const gone = new Set(expired(all, { age, bytes }, NOW));
      const kept = all.filter(({ name }) => !gone.has(name));
      const lost = all.filter(({ name }) => gone.has(name));
      expect(kept.reduce((sum, one) => sum + one.bytes, 0)).toBeLessThanOrEqual(bytes);
      for (const { at } of kept) expect(NOW - at).toBeLessThanOrEqual(age);
      const newestLost = Math.max(-1, ...lost.map(({ at }) => at));
      for (const { at } of kept) expect(at).toBeGreaterThanOrEqual(newestLost);
      // Nothing goes without need: the newest of the lost would have been too old, or too much.
      const next = lost.filter(({ at }) => at === newestLost);
      const size = kept.reduce((sum, one) => sum + one.bytes, 0);
      if (next.length > 0)
        expect(NOW - newestLost > age || size + Math.max(...next.map((one) => one.bytes)) > bytes).toBe(true);
    }),
    { numRuns: 1_000 },
  );
});
