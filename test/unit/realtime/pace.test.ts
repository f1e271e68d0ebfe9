// When the session connects again: fast after a blip, ever slower otherwise, and spread over a fleet.
import { expect, test } from "bun:test";
import { minutes, seconds } from "../../../src/lib/duration.ts";
import {
  type DuplicateDetection,
  NO_DUPLICATE,
  type ReconnectInput,
  disconnectedByServer,
  failuresAfter,
  forgetOldDisconnects,
  reconnectPause,
} from "../../../src/realtime/pace.ts";

const input = (own: Partial<ReconnectInput>): ReconnectInput => ({
  ended: "lost",
  failures: 1,
  duplicate: false,
  jitter: 1,
  ...own,
});
/** The shortest and the longest pause there can be. */
const range = (own: Partial<ReconnectInput>): number[] =>
  [0, 1].map((r) => Math.round(reconnectPause(input(own), () => r)));

test("after a stable connection the pause is at most half a second", () => {
  expect(range({ failures: 0 })).toEqual([0, 500]);
});

test.each([
  [1, 1_000],
  [2, 2_000],
  [5, 15_000],
  [6, 15_000],
  [1_000, 15_000],
])("after %d failed connections in a row the pause is up to %d ms", (failures, longest) => {
  expect(range({ failures })).toEqual([0, longest]);
});

test("a connection of 2 s does not make the pause grow, a shorter one does", () => {
  expect(
    [seconds(10), seconds(2), seconds(1.9), undefined].map((onlineFor) => failuresAfter(5, onlineFor)),
  ).toEqual([0, 1, 6, 6]);
});

test.each([
  [0, [4_000, 4_000]],
  [0.2, [3_200, 4_000]],
  [1, [0, 4_000]],
])("a jitter of %d makes that share of the pause random", (jitter, expected) => {
  expect(range({ failures: 3, jitter })).toEqual(expected);
});

test("after a disconnect by the server the pause is at least a second, and a fleet does not return at once", () => {
  expect(range({ ended: "disconnected", failures: 0 })).toEqual([1_000, 5_000]);
  expect(range({ ended: "disconnected", failures: 6 })).toEqual([1_000, 15_000]);
});

test("a refused identity is tried again at its own pace", () => {
  expect(range({ ended: "refused", failures: 1 })).toEqual([5_000, 10_000]);
  expect(range({ ended: "refused", failures: 100 })).toEqual([150_000, 300_000]);
});

test("the server's Retry-After wins when it is longer, is spread, and bounded", () => {
  expect(range({ failures: 1, retryAfter: seconds(60) })).toEqual([60_000, 72_000]);
  expect(range({ failures: 6, jitter: 0, retryAfter: seconds(2) })).toEqual([15_000, 15_000]);
  expect(range({ retryAfter: minutes(60 * 24) })).toEqual([600_000, 720_000]);
});

test("with a suspected duplicate the pause is at least half a minute, whatever else holds", () => {
  expect(range({ duplicate: true, failures: 0 })).toEqual([30_000, 60_000]);
  expect(range({ duplicate: true, failures: 50, ended: "disconnected" })).toEqual([30_000, 60_000]);
});

/** Disconnected by the server at each of these minutes, each time after `onlineFor`. */
const disconnectedAt = (times: number[], onlineFor = seconds(2)): DuplicateDetection =>
  times.reduce((before, at) => disconnectedByServer(before, minutes(at), onlineFor), NO_DUPLICATE);

test("three disconnects within five minutes mean a duplicate, two or slower ones do not", () => {
  expect(disconnectedAt([1, 2, 3]).suspected).toBe(true);
  expect(disconnectedAt([1, 2]).suspected).toBe(false);
  expect(disconnectedAt([1, 3, 7]).suspected).toBe(false);
});

// A socket that was silent for 45 s is ended by the same message, after 45 to 50 s.
test.each([seconds(41), seconds(45), seconds(50), minutes(6)])(
  "disconnects after %d ms, the server's timeout for silence, mean no duplicate",
  (onlineFor) => {
    expect(disconnectedAt([1, 2, 3, 4, 5], onlineFor)).toEqual(NO_DUPLICATE);
  },
);

test("with a suspected duplicate a connection of a minute counts: the other agent waits that long", () => {
  const suspected = disconnectedAt([1, 2, 3]);
  const later = [4, 5, 6, 7, 8, 9].reduce(
    (before, at) => disconnectedByServer(before, minutes(at), seconds(55)),
    suspected,
  );
  expect(later.suspected).toBe(true);
});

test("the suspicion lasts while disconnects go on, and ends after five minutes without one", () => {
  const suspected = disconnectedAt([1, 2, 3, 6]);
  expect(suspected.suspected).toBe(true);
  expect(forgetOldDisconnects(suspected, minutes(10.9)).suspected).toBe(true);
  expect(forgetOldDisconnects(suspected, minutes(11.1))).toEqual(NO_DUPLICATE);
});

test("the number of remembered disconnects is bounded", () => {
  const suspected = disconnectedAt(Array.from({ length: 1_000 }, (_, i) => i / 2));
  expect(suspected.disconnects.length).toBeLessThanOrEqual(10);
});
