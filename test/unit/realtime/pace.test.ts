// When the session connects again: fast after a blip, ever slower otherwise, and spread over a fleet.
import { expect, test } from "bun:test";
import { minutes, seconds } from "../../../src/lib/duration.ts";
import {
  type Contest,
  type Past,
  calmer,
  failuresAfter,
  reconnectPause,
  thrownOut,
  uncontested,
} from "../../../src/realtime/pace.ts";

const past = (own: Partial<Past>): Past => ({
  ended: "lost",
  failures: 1,
  contested: false,
  jitter: 1,
  ...own,
});
/** The shortest and the longest pause there can be. */
const range = (own: Partial<Past>): number[] =>
  [0, 1].map((r) => Math.round(reconnectPause(past(own), () => r)));

test("after a good life it is back within half a second", () => {
  expect(range({ failures: 0 })).toEqual([0, 500]);
});

test.each([
  [1, 1_000],
  [2, 2_000],
  [5, 15_000],
  [6, 15_000],
  [1_000, 15_000],
])("after %d lives in a row that were none it waits up to %d ms", (failures, longest) => {
  expect(range({ failures })).toEqual([0, longest]);
});

test("a short life that was a healthy one does not make the pause grow, one that was over at once does", () => {
  expect([seconds(10), seconds(2), seconds(1.9), undefined].map((life) => failuresAfter(5, life))).toEqual([
    0, 1, 6, 6,
  ]);
});

test.each([
  [0, [4_000, 4_000]],
  [0.2, [3_200, 4_000]],
  [1, [0, 4_000]],
])("a jitter of %d makes that share of the pause random", (jitter, expected) => {
  expect(range({ failures: 3, jitter })).toEqual(expected);
});

test("a server that asks to leave is left alone for a second at least, and a fleet does not return at once", () => {
  expect(range({ ended: "thrown out", failures: 0 })).toEqual([1_000, 5_000]);
  expect(range({ ended: "thrown out", failures: 6 })).toEqual([1_000, 15_000]);
});

test("a refused identity is asked for again at its own pace", () => {
  expect(range({ ended: "refused", failures: 1 })).toEqual([5_000, 10_000]);
  expect(range({ ended: "refused", failures: 100 })).toEqual([150_000, 300_000]);
});

test("the server's Retry-After wins when it is longer, is spread, and bounded", () => {
  expect(range({ failures: 1, retryAfter: seconds(60) })).toEqual([60_000, 72_000]);
  expect(range({ failures: 6, jitter: 0, retryAfter: seconds(2) })).toEqual([15_000, 15_000]);
  expect(range({ retryAfter: minutes(60 * 24) })).toEqual([600_000, 720_000]);
});

test("in a contest it waits half a minute at least, whatever else holds", () => {
  expect(range({ contested: true, failures: 0 })).toEqual([30_000, 60_000]);
  expect(range({ contested: true, failures: 50, ended: "thrown out" })).toEqual([30_000, 60_000]);
});

/** Thrown out at each of these minutes, each time after `life`. */
const outAt = (times: number[], life = seconds(2)): Contest =>
  times.reduce((contest, at) => thrownOut(contest, minutes(at), life), uncontested);

test("thrown out three times within five minutes is a contest, twice or slower is none", () => {
  expect(outAt([1, 2, 3]).contested).toBe(true);
  expect(outAt([1, 2]).contested).toBe(false);
  expect(outAt([1, 3, 7]).contested).toBe(false);
});

// A socket that was silent for 45 s is ended by the same message, after 45 to 50 s.
test.each([seconds(41), seconds(45), seconds(50), minutes(6)])(
  "thrown out after lives of %d ms, as long as the server bears with silence, is none",
  (life) => {
    expect(outAt([1, 2, 3, 4, 5], life)).toEqual(uncontested);
  },
);

test("in a contest a life of a minute is part of it: the other agent waits for so long", () => {
  const contest = outAt([1, 2, 3]);
  const later = [4, 5, 6, 7, 8, 9].reduce((now, at) => thrownOut(now, minutes(at), seconds(55)), contest);
  expect(later.contested).toBe(true);
});

test("a contest lasts while it goes on, and is over after five quiet minutes", () => {
  const contest = outAt([1, 2, 3, 6]);
  expect(contest.contested).toBe(true);
  expect(calmer(contest, minutes(10.9)).contested).toBe(true);
  expect(calmer(contest, minutes(11.1))).toEqual(uncontested);
});

test("what is remembered of it is bounded", () => {
  const contest = outAt(Array.from({ length: 1_000 }, (_, i) => i / 2));
  expect(contest.thrownOut.length).toBeLessThanOrEqual(10);
});
