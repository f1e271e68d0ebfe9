// Promises of windows of time: how they are written, and when they open.
import { expect, test } from "bun:test";
import { opensAt, parseWindow, type TimeWindow } from "../../../src/lib/time-window.ts";

/** 26 November 2026 is a Thursday. */
const at = (day: number, hour: number, minute = 0): number => new Date(2026, 10, day, hour, minute).getTime();

function windowOf(text: string): TimeWindow {
  const found = parseWindow(text);
  if (found === undefined) throw new Error(`${text} is no window`);
  return found;
}

test("texts that are no window are refused", () => {
  for (const text of [
    "",
    "2-4",
    "02:00",
    "25:00-26:00",
    "02:60-03:00",
    "02:00-02:00",
    "Foo 01:00-02:00",
    "Sat, 01:00-02:00",
  ])
    expect([text, parseWindow(text)]).toEqual([text, undefined]);
});

test("a window opens at its next beginning, and is open until its end", () => {
  const night = windowOf("02:00-04:30");
  expect(opensAt(night, at(26, 1))).toBe(at(26, 2));
  expect(opensAt(night, at(26, 4, 29))).toBe(at(26, 4, 29));
  expect(opensAt(night, at(26, 4, 30))).toBe(at(27, 2));
});

test("a window reaches over midnight, from the day it opens on", () => {
  const weekend = windowOf("sat,Sun 22:00-06:00");
  expect(opensAt(weekend, at(26, 12))).toBe(at(28, 22));
  expect(opensAt(weekend, at(29, 5))).toBe(at(29, 5));
  expect(opensAt(weekend, at(30, 5, 59))).toBe(at(30, 5, 59));
  expect(opensAt(weekend, at(30, 6))).toBe(new Date(2026, 11, 5, 22).getTime());
});
