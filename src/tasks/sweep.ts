// Removes the remains of finished tasks: their output by age and size, their journal rows by number.
import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { namesIn } from "../platform/lenient-reads.ts";
import { epochOf, steadyNow, wallNow } from "../lib/clock.ts";
import { type Duration, minutes } from "../lib/duration.ts";
import { type LoopRegistry, loop } from "../lib/loop.ts";
import type { Settings } from "../config/options.ts";
import { retry } from "../control/retry.ts";
import type { DiskReserve } from "../platform/disk-reserve.ts";
import type { Journal } from "./journal.ts";

export interface StoredOutput {
  readonly name: string;
  readonly bytes: number;
  /** Time of the last write, in milliseconds since the epoch. */
  readonly at: number;
}

/** Returns the run directories to remove: those older than `age`, then the oldest until the rest fits into `bytes`. Pure. */
export function expired(
  stored: readonly StoredOutput[],
  limits: { readonly age: Duration; readonly bytes: number },
  now: number,
): string[] {
  const newestFirst = [...stored].sort((a, b) => b.at - a.at);
  let total = 0;
  return newestFirst
    .filter(({ at, bytes }) => {
      total += bytes;
      return now - at > limits.age || total > limits.bytes;
    })
    .map(({ name }) => name);
}

/** Finished tasks kept in the journal: one of them that is handed out again must not count as new. */
const KEPT_TASKS = 10_000;

/** Runs the loop that deletes old task output until `signal` aborts. */
export function sweepLoop(
  ports: { readonly journal: Journal; readonly runs: string; readonly registry: LoopRegistry },
  settings: Pick<Settings, "task_log_retention" | "task_log_max_size">,
  signal: AbortSignal,
): Promise<void> {
  const { journal, runs, registry } = ports;
  const limits = { age: settings.task_log_retention, bytes: settings.task_log_max_size };
  const now = cautiousClock();
  return loop(
    { name: "sweep", every: minutes(1), retry: retry.local, bounded: true },
    async () => {
      for (const name of expired(finishedRuns(journal, runs), limits, now()))
        rmSync(join(runs, name), { recursive: true, force: true });
      journal.forgetAllBut(KEPT_TASKS);
    },
    registry,
    signal,
  );
}

/**
 * Milliseconds since the epoch for the ages of files; the earlier of two clocks: the wall clock, and what it showed when
 * this was called, counted on. Setting it forward, maybe by mistake, makes nothing old at once.
 */
export function cautiousClock(): () => number {
  const origin = epochOf(wallNow()) - steadyNow();
  return () => Math.min(epochOf(wallNow()), origin + steadyNow());
}

/** Removes run directories of finished tasks, the oldest first, until the disk has room. Returns their number. */
export function makeRoom(
  ports: { readonly journal: Journal; readonly runs: string },
  disk: DiskReserve,
): number {
  const oldestFirst = finishedRuns(ports.journal, ports.runs).sort((a, b) => a.at - b.at);
  let removed = 0;
  for (const { name } of oldestFirst) {
    if (disk.shortage() === undefined) break;
    rmSync(join(ports.runs, name), { recursive: true, force: true });
    removed++;
    disk.check();
  }
  return removed;
}

function finishedRuns(journal: Journal, runs: string): StoredOutput[] {
  const busy = new Set(journal.unfinished().map(({ id }) => id));
  return directories(runs).filter(({ name }) => !busy.has(name.split(".")[0] ?? name));
}

function directories(root: string): StoredOutput[] {
  return namesIn(root).map((name) => {
    const files = namesIn(join(root, name)).map((file) => statOf(join(root, name, file)));
    return {
      name,
      bytes: files.reduce((sum, { size }) => sum + size, 0),
      at: Math.max(0, ...files.map(({ mtimeMs }) => mtimeMs)),
    };
  });
}

const statOf = (path: string): { size: number; mtimeMs: number } =>
  statSync(path, { throwIfNoEntry: false }) ?? { size: 0, mtimeMs: 0 };
