// JSON that is nested too deep is found without parsing it.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { isTooDeep } from "../../../src/lib/json-depth.ts";

const nested = (levels: number, open = "[", close = "]"): string =>
  `${open.repeat(levels)}1${close.repeat(levels)}`;

test("a thousand levels of arrays or objects are taken, one more is too deep", () => {
  expect(isTooDeep(nested(1_000))).toBe(false);
  expect(isTooDeep(nested(1_001))).toBe(true);
  expect(isTooDeep(nested(1_000, '{"a":', "}"))).toBe(false);
  expect(isTooDeep(nested(1_001, '{"a":', "}"))).toBe(true);
});

test("many arrays side by side are not deep", () => {
  expect(isTooDeep(`[${"[],".repeat(100_000)}[]]`)).toBe(false);
});

test("for any value, brackets in strings do not count, and the depth is the value's", () => {
  const depthOf = (value: unknown): number =>
    typeof value === "object" && value !== null
      ? 1 + Math.max(0, ...Object.values(value).map((inner) => depthOf(inner)))
      : 0;
  const strings = fc.string({ unit: fc.constantFrom("[", "{", "]", "}", '"', "\\", "a") });
  const values = fc.letrec((tie) => ({
    value: fc.oneof(strings, fc.array(tie("value"), { maxLength: 3 }), fc.dictionary(strings, tie("value"))),
  })).value;
  fc.assert(
    fc.property(values, (value) => {
      const depth = depthOf(value);
      const text = JSON.stringify(value);
      expect(isTooDeep(text, depth)).toBe(false);
      if (depth > 0) expect(isTooDeep(text, depth - 1)).toBe(true);
    }),
  );
});
