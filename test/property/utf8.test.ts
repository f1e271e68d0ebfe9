// Any bytes, cut anywhere, decode to the text of the whole; nothing the control plane refuses comes out.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { completeLength, decodeText, takeText } from "../../src/lib/utf8.ts";

/** Text, noise, and what lies between: whole characters with their ends, beginnings and middles torn off. */
const piece = fc.oneof(
  fc.string({ unit: "binary" }).map((text) => Buffer.from(text)),
  fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes)),
  fc
    .constantFrom("é", "€", "\uFEFF", "😀", "\u{10FFFF}", "\uD7FF", "\uE000", "\0", "\n")
    .chain((character) => {
      const bytes = Buffer.from(character);
      return fc
        .tuple(fc.nat(bytes.length), fc.nat(bytes.length))
        .map(([a, b]) => bytes.subarray(Math.min(a, b), Math.max(a, b)));
    }),
  // Overlong, a surrogate half, beyond the last character, bytes that never occur.
  fc
    .constantFrom("c080", "e08080", "eda080", "f08fbfbf", "f4908080", "f8", "ff", "80")
    .map((hex) => Buffer.from(hex, "hex")),
);
const bytes = fc.array(piece, { maxLength: 12 }).map((pieces) => Buffer.concat(pieces));

const decoded = (whole: Uint8Array): string =>
  new TextDecoder("utf-8", { ignoreBOM: true }).decode(whole).replaceAll("\0", "\uFFFD");

test("taken in pieces of any size, the text is that of the whole", () => {
  fc.assert(
    fc.property(bytes, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (whole, sizes) => {
      let text = "";
      let at = 0;
      for (let k = 0; at < whole.length; k++) {
        const size = sizes[k % sizes.length] ?? 1;
        const taken = takeText(whole.subarray(at), size, true);
        expect(taken.bytes).toBeGreaterThan(0);
        expect(Array.from(taken.text).length).toBeLessThanOrEqual(size);
        text += taken.text;
        at += taken.bytes;
      }
      expect(text).toBe(decoded(whole));
    }),
    { numRuns: 2_000 },
  );
});

test("taken as it arrives, cut at any byte, the text is that of the whole", () => {
  fc.assert(
    fc.property(bytes, fc.array(fc.nat(40)), (whole, cuts) => {
      const ends = [...cuts.filter((cut) => cut < whole.length).sort((a, b) => a - b), whole.length];
      let text = "";
      let at = 0;
      for (const [k, end] of ends.entries()) {
        const taken = takeText(whole.subarray(at, end), Infinity, k === ends.length - 1);
        text += taken.text;
        at += taken.bytes;
      }
      expect(at).toBe(whole.length);
      expect(text).toBe(decoded(whole));
    }),
    { numRuns: 2_000 },
  );
});

test("a cut at completeLength parts no character: both sides decode to the text of the whole", () => {
  fc.assert(
    fc.property(bytes, fc.nat(60), (whole, cut) => {
      const front = whole.subarray(0, cut);
      const length = completeLength(front);
      expect(front.length - length).toBeLessThanOrEqual(3);
      expect(decodeText(front.subarray(0, length)) + decodeText(whole.subarray(length))).toBe(decoded(whole));
    }),
    { numRuns: 2_000 },
  );
});

test("what comes out holds no NUL and no lone surrogate", () => {
  fc.assert(
    fc.property(bytes, (whole) => {
      const { text } = takeText(whole, Infinity, true);
      expect(text).not.toContain("\0");
      expect(text.isWellFormed()).toBe(true);
    }),
  );
});
