// Keeps room on the state disk for what must be written when it is full: a file that is given up then. Without it, one
// task's output would take the last byte, and neither the end of that task nor any other could be written down.
import { closeSync, fsyncSync, openSync, rmSync, statSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";
import { KIB, MIB } from "../lib/size.ts";
import { type SteadyTime, steadyNow } from "../lib/clock.ts";
import { type Duration, milliseconds, seconds } from "../lib/duration.ts";
import { isRoot } from "./account.ts";
import type { Log } from "./log.ts";

/** The journal takes some kilobytes a task, its write-ahead log up to 1 MB. */
const SIZE_MAX = 8 * MIB;
/** Of a small disk the reserve is this part. */
const PART = 8;
const CHUNK = 64 * KIB;

export interface DiskSpace {
  /** Bytes that we may still write. */
  readonly free: number;
  readonly total: number;
  /** Files that may still be made; undefined where that has no limit. */
  readonly inodes?: number | undefined;
}

export interface ReserveState {
  /** The reserve is on disk. */
  readonly held: boolean;
  /** Too little is left to begin anything. */
  readonly low: boolean;
}

/** Bytes to keep on a disk of this size, whole pages. */
export const reserveSize = (total: number): number =>
  Math.min(SIZE_MAX, Math.floor(total / PART / 4_096) * 4_096);

/** Those who fill the disk get this long to be stopped, or to fail, before the reserve is given up: not to them. */
const STOP_WITHIN = seconds(1);
/** Many may watch. */
const WATCH_EVERY = milliseconds(50);

/**
 * The state to bring about, where it has been low for `lowFor`. Low begins below one reserve of free bytes and ends
 * above two, so that it does not flicker; the reserve is given up below a quarter of it, and taken back when two more
 * would be left.
 */
export function nextReserve(now: ReserveState, free: number, size: number, lowFor: Duration): ReserveState {
  const room = free - (now.held ? 0 : size);
  const low = room < size || (now.low && room < 2 * size);
  const isNeeded = room < size / 4 && lowFor >= STOP_WITHIN;
  return { held: now.held ? !isNeeded : room >= 2 * size, low };
}

export interface DiskReserve {
  /** Looks at the disk, gives the reserve up or takes it back. Never throws. */
  look(): void;
  /** The same, unless somebody has just looked. */
  watch(): void;
  /** Why nothing new can be begun, for people; undefined while there is room. */
  shortage(): string | undefined;
}

export function createDiskReserve(
  directory: string,
  log: Log,
  spaceOf: (directory: string) => DiskSpace = diskSpace,
): DiskReserve {
  const path = join(directory, "disk-reserve");
  let state: ReserveState = { held: false, low: false };
  let shortage: string | undefined;
  // At the start nobody needs to be stopped first: who wrote while we were away has failed.
  let lowSince: SteadyTime = -Infinity;
  let lookedAt: SteadyTime = -Infinity;

  function look(): void {
    const { free, total, inodes = Infinity } = spaceOf(directory);
    const size = reserveSize(total);
    const before = { held: isHeld(path, size), low: state.low };
    const reserve = nextReserve(before, free, size, steadyNow() - lowSince);
    const next = { held: reserve.held, low: reserve.low || inodes < INODES_MIN };
    if (before.held && !next.held) rmSync(path, { force: true });
    if (!before.held && next.held) writeReserve(path, size);
    const what = inodes < INODES_MIN ? `${inodes} inodes` : `${kilobytes(free)} kB`;
    shortage = next.low ? `the disk of ${directory} is full: ${what} left` : undefined;
    if (next.low && !before.low) log.error("disk", `${shortage}; no task is claimed until there is room`);
    if (!next.low && before.low) log.info("disk", `there is room again on the disk of ${directory}`);
    if (!next.low) lowSince = Infinity;
    else if (lowSince === Infinity) lowSince = steadyNow();
    state = next;
  }

  function lookSafely(): void {
    lookedAt = steadyNow();
    try {
      look();
    } catch {
      // Somebody else took the room between the look and the write, or it cannot be read: the next look finds out.
      rmSync(path, { force: true });
    }
  }

  return {
    look: lookSafely,
    watch() {
      if (steadyNow() - lookedAt >= WATCH_EVERY) lookSafely();
    },
    shortage: () => shortage,
  };
}

const kilobytes = (bytes: number): number => Math.floor(bytes / KIB);

function diskSpace(directory: string): DiskSpace {
  const { bavail, bfree, blocks, bsize, files, ffree } = statfsSync(directory);
  const inodes = files > 0 ? ffree : undefined; // btrfs makes them as they are needed.
  return { free: (isRoot() ? bfree : bavail) * bsize, total: blocks * bsize, inodes };
}

const isHeld = (path: string, size: number): boolean =>
  statSync(path, { throwIfNoEntry: false })?.size === size;

/** A task takes a dozen files. */
const INODES_MIN = 100;

/** Random bytes: a file system that compresses would keep no room for zeros. */
function writeReserve(path: string, size: number): void {
  rmSync(path, { force: true });
  const file = openSync(path, "wx", 0o600);
  try {
    const chunk = crypto.getRandomValues(new Uint8Array(CHUNK));
    for (let left = size; left > 0; left -= CHUNK) writeSync(file, chunk, 0, Math.min(left, CHUNK));
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
