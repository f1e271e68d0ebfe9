// Reads kernel files, directory names and the usage of filesystems for the meters.
import { readFile, readdir, statfs } from "node:fs/promises";
import { type Duration, minutes } from "../lib/duration.ts";
import { steadyNow } from "../lib/clock.ts";

/** In blocks of `blockSize` bytes, as reported by `statfs`. */
export interface Filesystem {
  readonly blockSize: number;
  readonly blocks: number;
  readonly free: number;
  /** Of the free ones, those that are not reserved for root. */
  readonly available: number;
}

/** Nothing here throws: unreadable files are undefined, unreadable directories empty. */
export interface Machine {
  read(path: string): Promise<string | undefined>;
  names(directory: string): Promise<readonly string[]>;
  filesystem(mountPoint: string): Promise<Filesystem | undefined>;
}

/** Asynchronous throughout: a busy kernel takes milliseconds for one of these files. `root` is for tests. */
export const thisMachine = (root = ""): Machine => ({
  read: (path) => readFile(root + path, "utf8").catch(() => undefined),
  names: (directory) => readdir(root + directory).catch(() => []),
  filesystem: (mountPoint) =>
    statfs(root + mountPoint).then(
      ({ bsize, blocks, bfree, bavail }) => ({ blockSize: bsize, blocks, free: bfree, available: bavail }),
      () => undefined,
    ),
});

/** Facts that rarely change (mounts, limits, sensors) are read once a minute, not at every sample. */
export function refreshed<T>(
  read: () => Promise<T>,
  every: Duration = minutes(1),
  now: () => Duration = steadyNow,
): () => Promise<T> {
  let current: Promise<T> | undefined;
  let readAt = -Infinity;
  return () => {
    if (current === undefined || now() - readAt >= every) {
      readAt = now();
      current = read();
    }
    return current;
  };
}

/** Returns `part` of `whole` in percent with one decimal; undefined when that is no number. */
export function percent(part: number, whole: number): number | undefined {
  const share = (part / whole) * 100;
  return Number.isFinite(share) ? Math.round(Math.min(100, Math.max(0, share)) * 10) / 10 : undefined;
}

/** Parses a decimal number of the kernel; undefined for "max" and anything else. */
export const parseCount = (text: string | undefined): number | undefined =>
  text !== undefined && /^\d+$/.test(text.trim()) ? Number(text) : undefined;
