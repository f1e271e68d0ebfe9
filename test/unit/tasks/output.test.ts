// The shortened output ends and begins where a person would cut it.
import { expect, test } from "bun:test";
import { summarise } from "../../../src/tasks/output/summary.ts";

const summaryOf = (text: string): string => {
  const bytes = Buffer.from(text);
  return summarise({ length: bytes.length, read: (from, to) => bytes.subarray(from, to) }, "7c1e2d3a-1");
};
const lines = (count: number): string => Array.from({ length: count }, (_, k) => `line ${k}\n`).join("");

test("8000 units are given whole, 8001 are not", () => {
  expect(summaryOf("a".repeat(8_000))).toBe("a".repeat(8_000));
  expect(summaryOf("a".repeat(8_001))).toContain("output shortened");
});

test("an emoji counts as the two units the control plane counts", () => {
  expect(summaryOf("😀".repeat(4_000))).toBe("😀".repeat(4_000));
  expect(summaryOf("😀".repeat(4_001))).toContain("output shortened");
});

test("both parts are whole lines, the last line included", () => {
  const [head = "", , ...tail] = summaryOf(lines(10_000)).split(/\n(… output shortened.*)\n/);
  expect(head).toStartWith("line 0\nline 1\n");
  expect(head).toMatch(/\nline \d+$/);
  expect(tail.join("")).toMatch(/^line \d+\n/);
  expect(tail.join("")).toEndWith("line 9998\nline 9999\n");
});

test("a line too long to be kept whole is cut rather than lost", () => {
  const text = summaryOf(`${"x".repeat(10_000)}\n${"y".repeat(10_000)}`);
  expect(text).toStartWith("x".repeat(3_000));
  expect(text).toEndWith("y".repeat(4_000));
});

test("the note names the command that shows the whole", () => {
  expect(summaryOf("a".repeat(9_000))).toContain("noderax-agent task logs 7c1e2d3a");
});
