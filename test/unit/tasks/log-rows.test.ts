// One log row at a time: where it is cut, and what the note about a gap says.
import { expect, test } from "bun:test";
import { milliseconds, minutes, seconds } from "../../../src/lib/duration.ts";
import { cutRow, decideRow, gapNote, nothingShipped } from "../../../src/tasks/log-rows.ts";

const START = 1_000_000;
const shipped = { ...nothingShipped, rows: 3, lastRowAt: START + seconds(3) };
const some = { bytes: { stdout: 10, stderr: 0 }, oldest: "stdout" } as const;
const row = (text: string, lastRow = ""): { line: string; bytes: number; hash: string } =>
  cutRow(Buffer.from(text), lastRow);

test("without output nothing is decided", () => {
  const nothing = { bytes: { stdout: 0, stderr: 0 }, oldest: undefined };
  expect(decideRow(nothingShipped, nothing, START, true, START)).toEqual({ do: "nothing" });
});

test("the first row waits for nothing, the next for a second", () => {
  const now = START + milliseconds(10);
  expect(decideRow(nothingShipped, some, START, false, now)).toEqual({ do: "row", stream: "stdout" });
  const after = { ...nothingShipped, rows: 1, lastRowAt: now };
  expect(decideRow(after, some, START, false, now)).toEqual({ do: "wait", until: now + seconds(1) });
});

test("when the output is complete no row waits", () => {
  expect(decideRow(shipped, some, START, true, shipped.lastRowAt)).toEqual({ do: "row", stream: "stdout" });
});

test("live rows last for half an hour: the eightieth is not before its 29th minute", () => {
  const late = { ...shipped, rows: 79 };
  const decision = decideRow(late, some, START, false, START + minutes(25));
  expect(decision).toMatchObject({ do: "wait" });
  if (decision.do === "wait") expect(decision.until).toBeGreaterThan(START + minutes(29));
});

test("the rows kept for the end are not used before it", () => {
  const full = { ...shipped, rows: 80 };
  expect(decideRow(full, some, START, false, START + minutes(60))).toEqual({ do: "nothing" });
  expect(decideRow(full, some, START, true, START + minutes(60))).toEqual({ do: "row", stream: "stdout" });
});

test("a row ends with a line where one ends in its last fifth, and the line feed is left out", () => {
  const text = `${"a".repeat(4_500)}\n${"b".repeat(4_500)}`;
  expect(row(text)).toMatchObject({ line: "a".repeat(4_500), bytes: 4_501 });
});

test("a row without a line's end in its last fifth is as long as a row can be", () => {
  const text = `${"a".repeat(3_900)}\n${"b".repeat(4_500)}`;
  expect(row(text).line).toHaveLength(5_000);
});

test("an empty line alone is sent as a line feed: the control plane refuses empty rows", () => {
  expect(row("\n")).toMatchObject({ line: "\n", bytes: 1 });
});

test("empty lines inside and at the end of a row survive", () => {
  expect(row("a\n\nb\n\n").line).toBe("a\n\nb\n");
});

test("the same line again differs from the row before it", () => {
  const first = row("tick\n");
  const second = row("tick\n", first.hash);
  expect([first.line, second.line]).toEqual(["tick", "tick\n"]);
  const unended = row("tick");
  expect(row("tick", unended.hash)).toMatchObject({ line: "tic", bytes: 3 });
});

test.each([
  [1, 80, "… 1 line (80 B) of stdout"],
  [12_345, 1_500, "… 12 345 lines (1.5 kB) of stdout"],
  [1_000_000, 999_999_999, "… 1 000 000 lines (1.0 GB) of stdout"],
])("a gap of %d lines and %d bytes is stated in words a person can use", (lines, bytes, beginning) => {
  const note = gapNote("stdout", lines, bytes, "7c1e2d3a-0000");
  expect(note).toStartWith(beginning);
  expect(note).toEndWith("noderax-agent task logs 7c1e2d3a");
});
