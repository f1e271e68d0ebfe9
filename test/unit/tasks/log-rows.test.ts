// One log row at a time: where it is cut, and what the note about a gap says.
import { expect, test } from "bun:test";
import { milliseconds, minutes, seconds } from "../../../src/lib/duration.ts";
import {
  type Pending,
  countLines,
  cutRow,
  decideRow,
  gapNote,
  nothingShipped,
} from "../../../src/tasks/output/rows.ts";

const START = 1_000_000;
const shipped = { ...nothingShipped, rows: 3, lastRowAt: START + seconds(3) };
const some = { bytes: { stdout: 10, stderr: 0 }, oldest: "stdout", run: 10, runs: 1, lines: 1 } as const;
/** So many lines of ten bytes, in one run. */
const lines = (count: number): Pending => ({
  bytes: { stdout: 10 * count, stderr: 0 },
  oldest: "stdout",
  run: 10 * count,
  runs: 1,
  lines: count,
});
const one = { do: "row", stream: "stdout", max: 10, single: true } as const;
const row = (text: string, lastRow = ""): { line: string; bytes: number; hash: string } =>
  cutRow(Buffer.from(text), lastRow);

test("without output nothing is decided", () => {
  const nothing = { bytes: { stdout: 0, stderr: 0 }, oldest: undefined, run: 0, runs: 0, lines: 0 };
  expect(decideRow(nothingShipped, nothing, START, true, START)).toEqual({ do: "nothing" });
});

test("sixteen lines leave at once, each in a row of its own; then one a second", () => {
  const at = START + milliseconds(10);
  for (let rows = 0; rows <= 16; rows++) {
    const before = { ...nothingShipped, rows, lastRowAt: at };
    expect(decideRow(before, some, START, false, at)).toEqual(one);
  }
  expect(decideRow({ ...nothingShipped, rows: 17, lastRowAt: at }, some, START, false, at)).toEqual({
    do: "wait",
    until: START + seconds(1),
  });
});

test("when the output is complete no row waits", () => {
  expect(decideRow(shipped, some, START, true, shipped.lastRowAt)).toEqual(one);
});

test.each([
  ["57 lines at the end of a task with three rows", 57, true, seconds(20), true],
  ["58 lines, more than sixty rows hold", 58, true, seconds(20), false],
  ["40 lines of a command that began just now", 40, false, milliseconds(100), true],
  ["40 lines of one that goes on", 40, false, seconds(2), false],
  ["14 lines, which may leave at once", 14, false, seconds(2), true],
])("%s: a row each is %p… %p", (_, count, ended, age, single) => {
  const decision = decideRow({ ...shipped, lastRowAt: START }, lines(count), START, ended, START + age);
  expect(decision).toEqual({ do: "row", stream: "stdout", max: 10 * count, single });
});

test("rows of many lines leave a second after the one before", () => {
  const now = START + seconds(30);
  const before = { ...shipped, lastRowAt: now - milliseconds(400) };
  expect(decideRow(before, { ...lines(500), lines: Infinity }, START, false, now)).toEqual({
    do: "wait",
    until: now + milliseconds(600),
  });
});

test("a row ends where the other stream came in between, while such changes are few enough for the rows", () => {
  const mixed = (runs: number): Pending => ({
    bytes: { stdout: 30_000, stderr: 30_000 },
    oldest: "stderr",
    run: 700,
    runs,
    lines: Infinity,
  });
  const now = START + seconds(30);
  const max = (runs: number, ended: boolean): unknown => {
    const decision = decideRow(shipped, mixed(runs), START, ended, now);
    return decision.do === "row" ? decision.max : decision;
  };
  expect([max(3, false), max(4, false)]).toEqual([700, 30_000]);
  // 96 − 3 rows are left, 16 of which the bytes fill.
  expect([max(77, true), max(78, true)]).toEqual([700, 30_000]);
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
  expect(decideRow(full, some, START, true, START + minutes(60))).toMatchObject({ do: "row" });
});

test("a row ends with a line where one ends in its last fifth, and the line feed is left out", () => {
  const text = `${"a".repeat(4_500)}\n${"b".repeat(4_500)}`;
  expect(row(text)).toMatchObject({ line: "a".repeat(4_500), bytes: 4_501 });
});

test("a row without a line's end in its last fifth is as long as a row can be", () => {
  const text = `${"a".repeat(3_900)}\n${"b".repeat(4_500)}`;
  expect(row(text).line).toHaveLength(5_000);
});

test("a single row is one line, with the empty ones before it", () => {
  const single = (text: string): string => cutRow(Buffer.from(text), "", true).line;
  expect(["one\ntwo\n", "\n\nthree\nfour", "five", "\n\n"].map(single)).toEqual([
    "one",
    "\n\nthree",
    "five",
    "\n",
  ]);
});

test.each([
  ["", 0],
  ["a", 1],
  ["a\n", 1],
  ["a\n\nb", 3],
])("%p has %d lines", (text, count) => expect(countLines(Buffer.from(text))).toBe(count));

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
  [0, 9_600_000, "… part of a line (9.6 MB) of stdout"],
  [1, 80, "… 1 line (80 B) of stdout"],
  [12_345, 1_500, "… 12 345 lines (1.5 kB) of stdout"],
  [1_000_000, 999_999_999, "… 1 000 000 lines (1.0 GB) of stdout"],
])("a gap of %d lines and %d bytes is stated in words a person can use", (lines, bytes, beginning) => {
  const note = gapNote("stdout", lines, bytes, "7c1e2d3a-0000");
  expect(note).toStartWith(beginning);
  expect(note).toEndWith("noderax-agent task logs 7c1e2d3a");
});
