// The reserve on the state disk: given up when the disk is full, taken back when there is room, and never in between.
import { expect, jest, test } from "bun:test";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert, boolean, integer, property } from "fast-check";
import { seconds } from "../../../src/lib/duration.ts";
import { createLog } from "../../../src/platform/log.ts";
import {
  type ReserveState,
  createDiskReserve,
  nextReserve,
  reserveSize,
} from "../../../src/platform/disk-reserve.ts";

const SIZE = 1_000;
const at = (state: ReserveState, free: number, lowFor = seconds(1)): ReserveState =>
  nextReserve(state, free, SIZE, lowFor);
const ROOMY = { held: true, low: false };

test("a large disk keeps 8 MiB, a small one an eighth in whole pages", () => {
  expect(reserveSize(1e12)).toBe(8 * 1024 * 1024);
  expect(reserveSize(4 * 1024 * 1024)).toBe(512 * 1024);
  expect(reserveSize(10_000)).toBe(0);
});

test("low begins below one reserve and ends above two", () => {
  expect(at(ROOMY, SIZE).low).toBe(false);
  expect(at(ROOMY, SIZE - 1).low).toBe(true);
  expect(at({ held: true, low: true }, 2 * SIZE - 1).low).toBe(true);
  expect(at({ held: true, low: true }, 2 * SIZE).low).toBe(false);
});

test("the reserve is given up for the last quarter, and what that frees is no room", () => {
  expect(at(ROOMY, SIZE / 4).held).toBe(true);
  expect(at(ROOMY, SIZE / 4 - 1)).toEqual({ held: false, low: true });
  expect(at({ held: false, low: true }, SIZE)).toEqual({ held: false, low: true });
  expect(at({ held: false, low: true }, 3 * SIZE)).toEqual({ held: true, low: false });
});

test("it is not given up to those who fill the disk: they are stopped first", () => {
  expect(at(ROOMY, 0, seconds(0.9))).toEqual({ held: true, low: true });
  expect(at(ROOMY, 0, seconds(1))).toEqual({ held: false, low: true });
});

test("as long as nobody writes, a decision stands: giving up and taking back change the free bytes, not the state", () => {
  assert(
    property(boolean(), boolean(), integer({ min: 0, max: 10 * SIZE }), (held, low, free) => {
      const next = at({ held, low }, free);
      const left = free + (held && !next.held ? SIZE : 0) - (!held && next.held ? SIZE : 0);
      expect(left).toBeGreaterThanOrEqual(0);
      expect(at(next, left)).toEqual(next);
    }),
  );
});

test("it says what is full and how much is left, once, and frees the reserve's bytes", async () => {
  const directory = mkdtempSync(join(tmpdir(), "noderax-test-"));
  const lines: string[] = [];
  const log = createLog({ level: "info", format: "json", write: (line) => void lines.push(line) });
  let [free, inodes] = [1e9, 1e6];
  const disk = createDiskReserve(directory, log, () => ({ free, inodes, total: 32 * 65_536 }));
  const held = (): number | undefined =>
    statSync(join(directory, "disk-reserve"), { throwIfNoEntry: false })?.size;
  jest.useFakeTimers();
  try {
    disk.check();
    expect([held(), disk.shortage()]).toEqual([256 * 1024, undefined]);
    free = 2_048;
    disk.check();
    expect(held()).toBe(256 * 1024);
    jest.advanceTimersByTime(1_050);
    disk.check();
    expect(held()).toBeUndefined();
    expect(disk.shortage()).toBe(`the disk of ${directory} is full: 2 kB left`);
    expect(lines.filter((line) => line.includes("is full"))).toHaveLength(1);
    free = 1e9;
    disk.check();
    expect([held(), disk.shortage()]).toEqual([256 * 1024, undefined]);
    inodes = 3;
    disk.check();
    expect(disk.shortage()).toBe(`the disk of ${directory} is full: 3 inodes left`);
    inodes = 1e6;
    disk.check();
    expect(disk.shortage()).toBeUndefined();
  } finally {
    jest.useRealTimers();
    rmSync(directory, { recursive: true });
  }
});
