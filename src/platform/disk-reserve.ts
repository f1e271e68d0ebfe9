// Keeps a reserve file on the state disk, and removes it when the disk is full, so that journal and outbox
// can be written. Without it, the output of one task could take the last byte, and no end of any task could
// be recorded.
import { closeSync, fsyncSync, openSync, rmSync, statSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";
import { KIB, MIB } from "../lib/size.ts";
import { type SteadyTime, steadyNow } from "../lib/clock.ts";
import { type Duration, milliseconds, seconds } from "../lib/duration.ts";
import { isRoot } from "./account.ts";
import type { Log } from "./log.ts";

/** Bytes. The journal needs some kilobytes a task, its write-ahead log up to 1 MB. */
const SIZE_MAX = 8 * MIB;
/** At most 1/8 of a small disk. */
const PART = 8;
const CHUNK = 64 * KIB;

export interface DiskSpace {
  /** Bytes that we may still write. */
  readonly free: number;
  readonly total: number;
  /** Number of files that can still be made; undefined without a limit. */
  readonly inodes?: number | undefined;
}

export interface ReserveState {
  /** The reserve is on disk. */
  readonly held: boolean;
  /** Too little space is left to start anything. */
  readonly low: boolean;
}

/** Returns the size of the reserve on a disk of `total` bytes, in whole pages of 4 KiB. */
export const reserveSize = (total: number): number =>
  Math.min(SIZE_MAX, Math.floor(total / PART / 4_096) * 4_096);

/** Time to stop the writers that filled the disk before the reserve is removed: they must not use it up. */
const STOP_WITHIN = seconds(1);
/** `watch` reads the disk at most this often, since many callers use it. */
const WATCH_EVERY = milliseconds(50);

/**
 * Decides the next state after space was low for `lowFor`. "low" begins below one reserve of free bytes and
 * ends above two, so that it does not flicker. The reserve is removed below a quarter of it, and made again
 * when two more would be left.
 */
export function nextReserve(now: ReserveState, free: number, size: number, lowFor: Duration): ReserveState {
  const room = free - (now.held ? 0 : size);
  const low = room < size || (now.low && room < 2 * size);
  const isNeeded = room < size / 4 && lowFor >= STOP_WITHIN;
  return { held: now.held ? !isNeeded : room >= 2 * size, low };
}

export interface DiskReserve {
  /** Reads the disk and removes or makes the reserve. Never throws. */
  check(): void;
  /** Does the same, unless that was done within 50 ms. */
  watch(): void;
  /** Returns why nothing new can be started, for people; undefined while there is room. */
  shortage(): string | undefined;
}

/** Creates the reserve of `directory`. It holds no file until the first `check`. */
export function createDiskReserve(
  directory: string,
  log: Log,
  spaceOf: (directory: string) => DiskSpace = diskSpace,
): DiskReserve {
  const path = join(directory, "disk-reserve");
  let state: ReserveState = { held: false, low: false };
  let shortage: string | undefined;
  // At the start no writer has to be stopped first: those of the earlier process have failed.
  let lowSince: SteadyTime = -Infinity;
  let checkedAt: SteadyTime = -Infinity;

  function adjust(): void {
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

  function check(): void {
    checkedAt = steadyNow();
    try {
      adjust();
    } catch {
      // Another writer used the space meanwhile, or the disk cannot be read: the next reading decides.
      rmSync(path, { force: true });
    }
  }

  return {
    check,
    watch() {
      if (steadyNow() - checkedAt >= WATCH_EVERY) check();
    },
    shortage: () => shortage,
  };
}

const kilobytes = (bytes: number): number => Math.floor(bytes / KIB);

function diskSpace(directory: string): DiskSpace {
  const { bavail, bfree, blocks, bsize, files, ffree } = statfsSync(directory);
  const inodes = files > 0 ? ffree : undefined; // btrfs makes inodes when they are needed.
  return { free: (isRoot() ? bfree : bavail) * bsize, total: blocks * bsize, inodes };
}

const isHeld = (path: string, size: number): boolean =>
  statSync(path, { throwIfNoEntry: false })?.size === size;

/** A task needs about 12 files. */
const INODES_MIN = 100;

/** Writes random bytes: a compressing file system would reserve no space for zeros. */
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
