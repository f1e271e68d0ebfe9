// The output of a completion, over random bytes: within what the control plane keeps, whole where it fits, head and tail else.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { decodeText } from "../../src/lib/utf8.ts";
import { type OutputReader, summarise } from "../../src/tasks/output/summary.ts";

const TASK = "7c1e2d3a-0000-4000-8000-000000000001";
const NOTE = `\n… output shortened; all of it on the node: noderax-agent task logs ${TASK.slice(0, 8)} …\n`;

const readerOf = (bytes: Uint8Array): OutputReader => ({
  length: bytes.length,
  read: (from, to) => bytes.subarray(from, to),
});
const summaryOf = (bytes: Uint8Array): string => summarise(readerOf(bytes), TASK);

/** Text and noise of any size, with other text and noise before and behind it, so that cuts fall anywhere. */
const part = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }).map((text) => Buffer.from(text)),
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom("a", "é", "€", "😀", "line\n", "\0").map((text) => Buffer.from(text)),
);
const bytes = fc
  .tuple(part, part, fc.oneof(fc.nat(9_000), fc.nat(30_000), fc.nat(200_000)), part)
  .map(([front, pattern, size, back]) =>
    Buffer.concat([front, Buffer.alloc(size, pattern.length === 0 ? "a" : pattern), back]),
  );

test("any output becomes at most 8000 UTF-16 units that a database takes", () => {
  fc.assert(
    fc.property(bytes, (output) => {
      const text = summaryOf(output);
      expect(text.length).toBeLessThanOrEqual(8_000);
      expect(text.isWellFormed()).toBe(true);
      expect(text.includes("\0")).toBe(false);
    }),
    { numRuns: 300 },
  );
});

test("an output that fits is given whole; one that does not, says so between its head and its tail", () => {
  fc.assert(
    fc.property(bytes, (output) => {
      const whole = decodeText(output);
      const text = summaryOf(output);
      if (whole.length <= 8_000) expect(text).toBe(whole);
      else {
        const [head = "", tail = "", ...more] = text.split(NOTE);
        expect(more).toEqual([]);
        expect(whole.startsWith(head) && whole.endsWith(tail)).toBe(true);
        // Whole lines, at the cost of a fifth of each half at most.
        expect(head.length).toBeGreaterThanOrEqual(2_400 - 2);
        expect(tail.length).toBeGreaterThanOrEqual((8_000 - head.length - NOTE.length) * 0.8 - 2);
      }
    }),
    { numRuns: 300 },
  );
});

test("a long output is never read as a whole", () => {
  let read = 0;
  const endless: OutputReader = {
    length: 10_000_000_000,
    read(from, to) {
      read += to - from;
      return new Uint8Array(to - from).fill(0x61);
    },
  };
  expect(summarise(endless, TASK)).toContain(NOTE);
  expect(read).toBeLessThan(100_000);
});
