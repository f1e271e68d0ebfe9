// Durations are Go's: what Go programs accept and print is read, what we print is read back.
import { expect, test } from "bun:test";
import {
  formatDuration,
  humanDuration,
  hours,
  milliseconds,
  minutes,
  parseDuration,
  seconds,
} from "../../../src/lib/duration.ts";
import { cpuTime } from "../../support/cpu-time.ts";

test.each([
  ["0", 0],
  ["-0", 0],
  ["5s", seconds(5)],
  ["30s", seconds(30)],
  ["1478s", seconds(1_478)],
  ["-5s", seconds(-5)],
  ["+5s", seconds(5)],
  ["5.0s", seconds(5)],
  ["5.6s", milliseconds(5_600)],
  ["5.s", seconds(5)],
  [".5s", milliseconds(500)],
  ["1.004s", milliseconds(1_004)],
  ["1.001s", milliseconds(1_001)],
  ["100.00100s", milliseconds(100_001)],
  ["10ns", 1e-5],
  ["11us", 0.011],
  ["12µs", 0.012],
  ["12μs", 0.012],
  ["13ms", milliseconds(13)],
  ["15m", minutes(15)],
  ["16h", hours(16)],
  ["3h30m", hours(3.5)],
  ["10.5s4m", minutes(4) + seconds(10.5)],
  ["-2m3.4s", -(minutes(2) + seconds(3.4))],
  ["39h9m14.425s", hours(39) + minutes(9) + seconds(14.425)],
  [" 30s ", seconds(30)],
])("%s, an example of Go's own tests, is read", (text, expected) => {
  expect(parseDuration(text)).toBe(expected);
});

test.each([
  "",
  "3",
  "-",
  "s",
  ".",
  "-.",
  ".s",
  "+.s",
  "1d",
  "1 s",
  "1s 2m",
  "1e3s",
  "0x1s",
  "--1s",
  "30S",
  "1,5s",
])("%p is no duration", (text) => {
  expect(parseDuration(text)).toBeUndefined();
});

test.each(["1".repeat(200_000), `${"1".repeat(200_000)}x`, `${"1s".repeat(100_000)}x`])(
  "a text of hundreds of thousands of characters is refused at once",
  (text) => {
    const used = cpuTime();
    expect(parseDuration(text)).toBeUndefined();
    expect(used()).toBeLessThan(500);
  },
);

test.each([
  [0, "0s"],
  [0.0015, "0.0015ms"],
  [100, "100ms"],
  [seconds(30), "30s"],
  [minutes(2.5), "2m30s"],
  [hours(1) + 500, "1h0.5s"],
  [-seconds(90), "-1m30s"],
])("%d ms is written as %s", (duration, text) => {
  expect(formatDuration(duration)).toBe(text);
});

test.each([
  [0, "0s"],
  [-seconds(5), "0s"],
  [seconds(12), "12s"],
  [seconds(59.6), "1m"],
  [minutes(4) + seconds(10), "4m 10s"],
  [hours(3), "3h"],
  [hours(3) + seconds(5), "3h"],
  [hours(76), "3d 4h"],
])("%d ms is %s to a person", (duration, text) => {
  expect(humanDuration(duration)).toBe(text);
});
