// Output of tasks and containers on an operator's terminal: coloured, complete, and unable to do anything else.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { createTerminalFilter, terminalText } from "../../src/lib/terminal-text.ts";

const ESC = "\u001b";
const COLOUR = new RegExp(`${ESC}\\[[\\d;:]*m`, "g");

const piece = fc.oneof(
  fc.string({ unit: "binary", maxLength: 6 }),
  fc.constantFrom(
    "\u001b",
    "\u001b[",
    "\u001b]0;",
    "\u001b[31m",
    "\u001b[38;5;8m",
    "\u001b[8m",
    "\u001b[2J",
    "\u001bP",
  ),
  fc.constantFrom("\r", "\n", "\r\n", "\t", "\b", "\u0007", "\u009b", "m", "1;31", "é", "😀", "\u202e"),
);
const output = fc
  .array(
    fc.oneof(
      piece.map((text) => Buffer.from(text)),
      fc.uint8Array({ maxLength: 4 }),
    ),
  )
  .map((all) => Buffer.concat(all));

function filtered(bytes: Uint8Array, cuts: readonly number[] = []): string {
  const filter = createTerminalFilter();
  const ends = [...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length];
  let from = 0;
  let shown = "";
  for (const end of ends) {
    shown += filter.write(bytes.subarray(from, end));
    from = end;
  }
  return shown + filter.end();
}

test("however the stream is cut, the same is shown", () => {
  fc.assert(
    fc.property(output, fc.array(fc.nat(), { maxLength: 5 }), (bytes, cuts) => {
      expect(filtered(bytes, cuts)).toBe(filtered(bytes));
    }),
  );
});

test("nothing but line ends, tabs and colours reaches the terminal, and no colour outlives the output", () => {
  fc.assert(
    fc.property(output, (bytes) => {
      const shown = filtered(bytes);
      const left = shown.replaceAll(COLOUR, "").replaceAll(/\r\n|\n|\t/g, "");
      expect(left).not.toMatch(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/u);
      expect(shown.match(COLOUR)?.at(-1) ?? "\u001b[0m").toMatch(/[[;]0*m$/);
    }),
  );
});

test("text without control characters is not changed", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      fc.pre(!/[\p{Cc}\u202a-\u202e\u2066-\u2069]/u.test(text));
      expect(filtered(Buffer.from(text))).toBe(text);
      expect(terminalText(text)).toBe(text);
    }),
  );
});

test.each([
  ["\u001b[1;31mred\u001b[0m\n", "\u001b[1;31mred\u001b[0m\n"],
  ["\u001b[31mred", "\u001b[31mred\u001b[0m"],
  ["\u001b[38;5;8mgrey\u001b[m", "\u001b[38;5;8mgrey\u001b[m"],
  ["\u001b[48;2;8;8;8mdark\u001b[39;49;0m", "\u001b[48;2;8;8;8mdark\u001b[39;49;0m"],
  ["\u001b[0;8mhidden", "\\x1b[0;8mhidden"],
  ["\u001b]0;title\u0007", "\\x1b]0;title\\x07"],
  ["\u001b[2J\u001b[H", "\\x1b[2J\\x1b[H"],
  ["\u009b2J", "\\x9b2J"],
  ["safe\roverwritten\r\n", "safe\\roverwritten\r\n"],
  ["a\tb\bc\u007f", "a\tb\\bc\\x7f"],
  ["\u001b", "\\x1b"],
  ["user\u202ecod.exe", "user\\u202ecod.exe"],
  [`\u001b[${"1;".repeat(40)}m`, `\\x1b[${"1;".repeat(40)}m`],
])("%j is shown as %j", (text, shown) => {
  expect(terminalText(text)).toBe(shown);
});

test("the beginning of a sequence waits for its rest, and text does not", () => {
  const filter = createTerminalFilter();
  const write = (text: string): string => filter.write(Buffer.from(text));
  expect([write("now\u001b["), write("3"), write("1mred"), write("\u001b[0"), filter.end()]).toEqual([
    "now",
    "",
    "\u001b[31mred",
    "",
    "\\x1b[0\u001b[0m",
  ]);
});
