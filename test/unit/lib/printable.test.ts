// Text of others cannot do anything to a terminal.
import { expect, test } from "bun:test";
import { printable, printableIn, printableJson } from "../../../src/lib/printable.ts";

test.each([
  ["a\u001b[2Jb", "a\\x1b[2Jb"],
  ["one\ntwo\r", "one\\ntwo\\r"],
  ["\u009b\u007f\0", "\\x9b\\x7f\\x00"],
  ["grün 😀 €", "grün 😀 €"],
  ["\u202egpj.exe", "\\u202egpj.exe"],
])("%j is shown as %s", (text, shown) => {
  expect(printable(text)).toBe(shown);
});

test("in a document every text is made printable, at any depth, and nothing else changes", () => {
  const document = { a: "one\ntwo", list: [{ b: "\u001b[2J" }, 3, null, true], c: "plain" };
  expect(printableIn(document)).toEqual({
    a: "one\\ntwo",
    list: [{ b: "\\x1b[2J" }, 3, null, true],
    c: "plain",
  });
});

test("JSON is the same document without control characters", () => {
  const document = { a: "\u009b2J\u007f\u0001é" };
  const json = printableJson(JSON.stringify(document));
  expect(json).toBe('{"a":"\\u009b2J\\u007f\\u0001é"}');
  expect(JSON.parse(json)).toEqual(document);
});
