// What a process costs, as the kernel accounts for it.
import { readFileSync } from "node:fs";
import { type Duration, milliseconds } from "../../src/lib/duration.ts";
import { binary } from "../support/binary.ts";
import { elapse } from "../support/until.ts";

export interface Memory {
  /** Megabytes, resident and the part of it that no file backs. */
  readonly resident: number;
  readonly anonymous: number;
}

export function memoryOf(pid: number): Memory {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const field = (name: string): number =>
    (Number(new RegExp(`^${name}: +(\\d+) kB`, "m").exec(text)?.[1]) * 1_024) / 1e6;
  return { resident: field("Rss"), anonymous: field("Anonymous") };
}

/** Processor time of a process so far, in milliseconds: clock ticks of 10 ms. */
export function busyTimeOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** Watches a process while something happens. Resolves with how many megabytes it grew by at most. */
export async function growthDuring(pid: number, work: () => Promise<unknown>): Promise<number> {
  const before = memoryOf(pid).resident;
  let peak = before;
  const look = setInterval(() => {
    peak = Math.max(peak, memoryOf(pid).resident);
  }, milliseconds(20));
  try {
    await work();
  } finally {
    clearInterval(look);
  }
  return peak - before;
}

/** The least of a moment's looks: what a process holds, not what it happens to have in its hands. */
export async function settledMemory(pid: number, moment: Duration): Promise<number> {
  let least = Infinity;
  for (const end = performance.now() + moment; performance.now() < end; await elapse(milliseconds(50)))
    least = Math.min(least, memoryOf(pid).resident);
  return least;
}

/** The same measurement for several benches. */
export function once<T>(measure: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  return () => (result ??= measure());
}

/**
 * A copy of the executable that the page cache does not hold, as after a boot. Of a file that was just written, which is
 * cached in large pieces, every page fault maps more than is used: 6 MB in all that nobody needs.
 */
export async function coldCopy(path: string, from: string = binary): Promise<string> {
  await Bun.$`cp ${from} ${path} && sync ${path} && dd if=${path} iflag=nocache count=0 status=none`;
  return path;
}
