// The cases of broken UTF-8 that have names, each as a browser shows it.
import { expect, test } from "bun:test";
import { completeLength, decodeText, takeText } from "../../../src/lib/utf8.ts";

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

test.each([
  ["a NUL", "61 00 62", "a\uFFFDb"],
  ["an overlong slash", "c0 af", "\uFFFD\uFFFD"],
  ["half of a surrogate pair", "ed a0 80", "\uFFFD\uFFFD\uFFFD"],
  ["three bytes of four, then text", "f0 9f 98 41", "\uFFFDA"],
  ["beyond the last character", "f4 90 80 80", "\uFFFD\uFFFD\uFFFD\uFFFD"],
  ["a byte order mark", "ef bb bf 41", "\uFEFFA"],
])("%s", (_, bytes, text) => {
  expect(takeText(hex(bytes), Infinity, true).text).toBe(text);
  expect(decodeText(hex(bytes))).toBe(text);
});

test("characters outside the basic plane count once, and are not parted", () => {
  const text = "😀😀😀";
  expect(takeText(Buffer.from(text), 2, true)).toEqual({ text: "😀😀", bytes: 8 });
});

test("the beginning of a character waits for its rest, or is given up when there is none", () => {
  expect(takeText(hex("61 e2 82"), 10, false)).toEqual({ text: "a", bytes: 1 });
  expect(takeText(hex("61 e2 82"), 10, true)).toEqual({ text: "a\uFFFD", bytes: 3 });
});

test.each([
  ["nothing", "", 0],
  ["plain text", "61 62", 2],
  ["a whole character", "e2 82 ac", 3],
  ["a character less one byte", "61 e2 82", 1],
  ["a character of four less three", "61 f0", 1],
  ["a beginning that cannot go on", "e0 80", 2],
  ["continuation bytes without a beginning", "80 80 80 80", 4],
])("%s is complete to where its last character begins", (_, bytes, length) => {
  expect(completeLength(hex(bytes))).toBe(length);
});
