// Recovers tasks without their journal: from their run directories, or by reporting them as failed.
import { Database } from "bun:sqlite";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { namesIn } from "../platform/lenient-reads.ts";
import { steadyNow, wallNow } from "../lib/clock.ts";
import * as v from "valibot";
import type { Outbox } from "../control/outbox.ts";
import { createServerClock } from "../control/server-clock.ts";
import { momentNow } from "../platform/moment.ts";
import { type Journal, Launch } from "./journal.ts";
import { STREAMS, type Stream } from "./output/rows.ts";
import { completionOf, unrun } from "./report.ts";
import { runDirectory } from "./run/directory.ts";
import { OUTBOX_KIND, createShipper } from "./output/shipping.ts";

/** Files in a run directory beside the wrapper's own. */
const RECORD = "task.json";
const FINISHED = "finished";
const RunRecord = v.object({ id: v.string(), type: v.string(), launch: Launch });
type RunRecord = v.InferOutput<typeof RunRecord>;

/** Returns name and text of task.json: without the payload, which may hold secrets. */
export const runRecord = (id: string, type: string, launch: Launch): { name: string; text: string } => ({
  name: RECORD,
  text: JSON.stringify({ id, type, launch } satisfies RunRecord),
});

/** Marks a run whose completion was delivered. Never throws: without the mark, the report is only repeated. */
export function markFinished(directory: string): void {
  try {
    writeFileSync(join(directory, FINISHED), "", { mode: 0o600 });
  } catch {
    // The directory was removed, or the disk is full.
  }
}

interface FoundRun extends RunRecord {
  readonly isFinished: boolean;
}

/** Returns the last attempt of every task whose run directory can be read. */
function findRuns(runs: string): FoundRun[] {
  const latest = new Map<string, FoundRun>();
  for (const name of namesIn(runs)) {
    const found = readRun(join(runs, name));
    if (found !== undefined && found.launch.attempt > (latest.get(found.id)?.launch.attempt ?? 0))
      latest.set(found.id, found);
  }
  return [...latest.values()];
}

function readRun(directory: string): FoundRun | undefined {
  try {
    const record = v.parse(RunRecord, JSON.parse(readFileSync(join(directory, RECORD), "utf8")));
    return { ...record, isFinished: sizeOf(join(directory, FINISHED)) !== undefined };
  } catch {
    return undefined;
  }
}

export interface Recovered {
  readonly adopted: number;
  readonly finished: number;
}

/** Rows counted as sent for a recovered task: that many may have been, and some must remain for its end. */
const ROWS_ASSUMED = 40;

/**
 * Writes the tasks of the run directories into an empty journal, so that they go on and are reported. Output that was
 * written before is not sent again.
 */
export function adoptRuns(runs: string, journal: Journal, outbox: Outbox): Recovered {
  const found = findRuns(runs);
  // Without an answer of the control plane yet, its time is unknown: use our own clock for the row.
  const serverClock = createServerClock();
  for (const { id, type, launch, isFinished } of found) {
    const moment = { boot: launch.bootId, steady: launch.at, wall: launch.wall };
    journal.claimed({ id, type, payload: {} }, moment);
    journal.started(id, moment);
    journal.launched(id, launch);
    if (isFinished) {
      journal.finished(id, wallNow());
      continue;
    }
    const directory = runDirectory(runs, id, launch.attempt);
    const offset = (stream: Stream): number => sizeOf(join(directory, `${stream}.log`)) ?? 0;
    const [stdout, stderr] = STREAMS.map(offset);
    const written = { stdout: stdout ?? 0, stderr: stderr ?? 0 };
    journal.shipped(id, { rows: ROWS_ASSUMED, lastRowAt: launch.at, offset: written, lastRow: "" });
    const task = journal.find(id);
    if (task !== undefined) createShipper(task, { journal, outbox, serverClock }).note(ADOPTED, steadyNow());
  }
  const finished = found.filter(({ isFinished }) => isFinished).length;
  return { adopted: found.length - finished, finished };
}

const ADOPTED =
  "… the agent's state was damaged: a part of the log before this may be missing here; `task logs` on the node has it all";

/** Identifiers as the control plane makes them; anything else was not written by an agent. */
const TASK_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const INTERRUPTED_MAX = 1_000;

/**
 * Reads which tasks were unfinished in a database that was set aside: one of another account, or a damaged one. Only their
 * ids are taken from it: that account could write what it wanted. Returns none when it cannot be read.
 */
export function interruptedTasks(formerDatabase: string): string[] {
  try {
    using database = new Database(formerDatabase, { readonly: true, strict: true });
    database.run("PRAGMA trusted_schema = OFF");
    return database
      .query<{ id: string }, [number]>(
        "SELECT id FROM tasks WHERE phase IN ('started', 'launched', 'reported') LIMIT ?",
      )
      .all(INTERRUPTED_MAX)
      .map(({ id }) => id)
      .filter((id) => typeof id === "string" && TASK_ID.test(id));
  } catch {
    return [];
  }
}

/** Reports each as failed. */
export function reportInterrupted(
  ids: readonly string[],
  why: string,
  journal: Journal,
  outbox: Outbox,
): void {
  const now = momentNow();
  for (const id of ids) {
    if (!journal.claimed({ id, type: "unknown", payload: {} }, now)) continue;
    journal.started(id, now);
    const task = journal.find(id);
    if (task === undefined) continue;
    const outcome = unrun("failed", why);
    journal.atomically(() => {
      outbox.push(
        id,
        OUTBOX_KIND.completed,
        completionOf(task, outcome, { output: "" }, { at: wallNow(), duration: undefined }),
      );
      journal.reported(id, outcome);
    });
  }
}

const sizeOf = (path: string): number | undefined => statSync(path, { throwIfNoEntry: false })?.size;
