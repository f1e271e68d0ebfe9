// Single values: durations, sizes and the way back to text.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { optionOf } from "../../../src/config/options.ts";
import { formatSize, parseSize } from "../../../src/lib/size.ts";
import { formatValue, parseValue } from "../../../src/config/value.ts";

test("a duration that is written and read again is the same", () => {
  const option = optionOf("task_timeout");
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10 ** 10 }), (milliseconds) => {
      const text = formatValue(option, milliseconds);
      expect(parseValue(option, text, "/").value).toBe(milliseconds);
    }),
  );
});

test("a size that is written and read again is the same", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 45 }), (bytes) => {
      expect(parseSize(formatSize(bytes))).toBe(bytes);
    }),
  );
});

test.each([
  ["512MiB", 512 * 2 ** 20],
  ["1GiB", 2 ** 30],
  ["1.5 GiB", 1.5 * 2 ** 30],
  ["100MB", 10 ** 8],
  ["64kb", 64_000],
  ["7B", 7],
])("the size %s is %d bytes", (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each(["512", "", "MiB", "1 parsec", "-1MiB", "1e3MiB", "9999999999TiB", "1GiBx"])(
  "%p is no size",
  (text) => {
    expect(parseSize(text)).toBeUndefined();
  },
);

test.each(["0", "0s", "-5s"])("the duration %s is refused: nothing of ours may take no time", (text) => {
  expect(parseValue(optionOf("task_timeout"), text, "/").problem).toContain("more than zero");
});

test.each(["1", "t", "TRUE", "yes", "On"])("%s is true", (word) => {
  expect(parseValue(optionOf("debug"), word, "/").value).toBe(true);
});

test("no text, however strange, makes parsing throw", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "binary" }),
      fc.constantFrom("api_url", "listen_port", "log_level", "docker_host"),
      (text, key) => {
        const { value, problem } = parseValue(optionOf(key), text, "/");
        expect((value === undefined) !== (problem === undefined)).toBe(true);
      },
    ),
  );
});
