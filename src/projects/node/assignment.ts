// Which projects are this node's: asked of the server again and again, and kept, so that a machine that boots without
// its server starts its containers all the same.
//
// A server that does not answer says nothing: the last answer stands.
import type { Database } from "bun:sqlite";
import * as v from "valibot";
import { messageOf } from "../../lib/agent-error.ts";
import { jitter } from "../../lib/backoff.ts";
import { type Duration, milliseconds, seconds } from "../../lib/duration.ts";
import { type LoopRegistry, type Wake, loop } from "../../lib/loop.ts";
import type { CaravanseraiApi } from "../../control/caravanserai-api.ts";
import { pauseAfter, retry } from "../../control/retry.ts";
import type { Migration } from "../../platform/database.ts";
import type { Log } from "../../platform/log.ts";
import { type SteadyTime, steadyNow } from "../../lib/clock.ts";
import { type Condition, NAME, Project, ProjectPlace } from "../../protocol/caravanserai/resources.ts";

/** Failed is not forgotten: what runs of it serves, what does not is tried again, and a corrected spec heals it. */
const WORK = ["Scheduled", "Running", "Failed", "Terminating"] as const;
export type AssignedPhase = (typeof WORK)[number];

/** A project of this node. One whose spec cannot be read can still be taken down, and be told of. */
export interface Assigned {
  readonly name: string;
  readonly phase: AssignedPhase;
  readonly spec:
    | { readonly project: Project }
    | { readonly problem: string; readonly reason: "ReconcileError" | "RemoveError" };
  /** What the server shows of it. */
  readonly conditions: readonly Condition[];
}

export interface Assignment {
  /** Those on the server's list. */
  readonly projects: readonly Assigned[];
  /** Those that left the list while nothing proves that they are not ours any more, as they stood on it last. */
  readonly retained: readonly Assigned[];
  /** When the server was asked, of the steady clock; undefined for one that was kept from an earlier life. */
  readonly askedAt: SteadyTime | undefined;
}

/**
 * The projects among the items of an answer that are this node's to work on. What is another node's, or in a phase that
 * was not asked for, is left out, whatever the server's filter did; `nameless` counts what says not even its name.
 */
export function readAssignment(
  items: readonly unknown[],
  node: string,
): { projects: readonly Assigned[]; nameless: number } {
  const projects = new Map<string, Assigned>();
  let nameless = 0;
  for (const item of items) {
    const place = v.safeParse(ProjectPlace, item);
    if (!place.success) nameless++;
    else if (place.output.status.nodeRef === node) {
      const { name } = place.output.metadata;
      const { phase, conditions } = place.output.status;
      if (!isWork(phase)) continue;
      const spec = isHalfRemoved(phase, conditions) ? HALF_REMOVED : readSpec(item, name);
      projects.set(name, { name, phase, spec, conditions });
    }
  }
  return { projects: [...projects.values()], nameless };
}

/** The items that `readAssignment` takes for this node's work, by name of the project. */
function workIn(items: readonly unknown[], node: string): ReadonlyMap<string, unknown> {
  return new Map(
    items.flatMap((item) => {
      const place = v.safeParse(ProjectPlace, item);
      if (!place.success) return [];
      const { metadata, status } = place.output;
      return status.nodeRef === node && isWork(status.phase) ? [[metadata.name, item] as const] : [];
    }),
  );
}

const isWork = (phase: string): phase is AssignedPhase => (WORK as readonly string[]).includes(phase);

/** Another agent has given up its removal. It was to go, so it is not brought up again; nor do we know that it still is to go. */
const isHalfRemoved = (phase: string, conditions: readonly Condition[]): boolean =>
  phase === "Failed" && conditions.some(({ reason }) => reason === "RemoveError");

const HALF_REMOVED: Assigned["spec"] = {
  problem: "its removal was not finished; delete it once more",
  reason: "RemoveError",
};

function readSpec(item: unknown, name: string): Assigned["spec"] {
  const unreadable = (problem: string): Assigned["spec"] => ({ problem, reason: "ReconcileError" });
  if (!NAME.test(name)) return unreadable(`"${name.slice(0, 80)}" is no name for a project`);
  const parsed = v.safeParse(Project, item);
  if (parsed.success) return { project: parsed.output };
  const issues = parsed.issues.slice(0, 3).map((issue) => {
    const where = v.getDotPath(issue);
    return where === null ? issue.message : `${where}: ${issue.message}`;
  });
  return unreadable(`its specification cannot be read: ${issues.join("; ")}`);
}

export const assignmentMigration: Migration = {
  name: "caravanserai-assignment",
  // One row. Another server's, or another node's, is of no use; `version` is that of what stands in `items`.
  sql: `CREATE TABLE assignment (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL,
    server TEXT NOT NULL,
    node TEXT NOT NULL,
    items TEXT NOT NULL
  ) STRICT`,
};

const VERSION = 1;

export interface AssignmentStore {
  /** The items of the last answer; undefined when there is none of this server for this node. */
  read(): readonly unknown[] | undefined;
  /** Writes only what is new; returns whether it was. */
  write(items: readonly unknown[]): boolean;
}

export function createAssignmentStore(database: Database, server: string, node: string): AssignmentStore {
  let stored: string | undefined;
  return {
    read() {
      const row = database
        .query<{ items: string }, [number, string, string]>(
          "SELECT items FROM assignment WHERE version = ? AND server = ? AND node = ?",
        )
        .get(VERSION, server, node);
      if (row === null) return undefined;
      stored = row.items;
      const items: unknown = JSON.parse(row.items);
      return Array.isArray(items) ? items : undefined;
    },
    write(items) {
      const text = JSON.stringify(items);
      if (text === stored) return false;
      database.run("INSERT OR REPLACE INTO assignment VALUES (1, ?, ?, ?, ?)", [VERSION, server, node, text]);
      stored = text;
      return true;
    },
  };
}

export interface AssignmentPorts {
  readonly api: Pick<CaravanseraiApi, "projects">;
  readonly store: AssignmentStore;
  readonly node: string;
  readonly onAssignment: (assignment: Assignment) => void;
  /** Whether it is proven of a project that left the list that it is not this node's any more. */
  readonly isLost: (name: string) => boolean;
  readonly registry: LoopRegistry;
  /** Called when the server answers again. */
  readonly wake?: Wake;
  readonly log: Log;
  readonly patience?: Duration;
}

/** What was kept counts when the server has not answered by then: it may have moved what we ran before. */
const PATIENCE: Duration = seconds(3);

/**
 * Whoever changes one project is likely to change another: after a start and after every change the server is asked more
 * often for a while, so that a person at work is not made to wait.
 */
const LIVELY_FOR: Duration = seconds(30);
const LIVELY_POLL: Duration = milliseconds(500);

/** So many slow answers in a row make a slow server. One alone may have met a lock or a lost packet. */
const SLOW_ANSWERS = 3;
/** Reports wait for a list: however slow the server is, it is asked so often. */
const SLOW_PAUSE: Duration = seconds(15);

/** `quiet`: since when nothing changed; `took`: how long the server needed for its last answers, the newest last. */
export function pollPause(every: Duration, quiet: Duration, took: readonly Duration[]): Duration {
  const pause = quiet < LIVELY_FOR ? Math.min(every, LIVELY_POLL) : every;
  const usual = took.length < SLOW_ANSWERS ? 0 : Math.min(...took.slice(-SLOW_ANSWERS));
  // Pause four times as long as an answer takes: a fifth of the server's time at most goes to us.
  return Math.max(pause, Math.min(4 * usual, SLOW_PAUSE));
}

/** Polls every `every`, oftener while something changes, and rarer while the server is slow or failing. Resolves when `signal` aborted. */
export async function assignmentLoop(
  { api, store, node, onAssignment, isLost, registry, wake, log, patience = PATIENCE }: AssignmentPorts,
  every: Duration,
  signal: AbortSignal,
): Promise<void> {
  const kept = store.read();
  /** By name: what stood on the list once and is not lost. */
  let held = workIn(kept ?? [], node);
  let unread = 0;
  let changedAt = steadyNow();
  let took: readonly Duration[] = [];
  const fallback = setTimeout(recall, patience);

  /** Adds to the answer what left the list and is not lost: all of it is kept for the next run. */
  function hold(items: readonly unknown[]): readonly unknown[] {
    const listed = workIn(items, node);
    const retained = [...held].filter(([name]) => !listed.has(name) && !isLost(name));
    held = new Map([...listed, ...retained]);
    return retained.map(([, item]) => item);
  }

  function accept(
    items: readonly unknown[],
    retained: readonly unknown[],
    askedAt: SteadyTime | undefined,
  ): void {
    const { projects, nameless } = readAssignment(items, node);
    if (nameless !== unread && nameless > 0)
      log.warn("assignment", `${nameless} projects of the server's list say not even their name`);
    unread = nameless;
    onAssignment({ projects, retained: readAssignment(retained, node).projects, askedAt });
  }

  let heard = false;
  function recall(): void {
    clearTimeout(fallback);
    if (kept === undefined || heard || signal.aborted) return;
    heard = true;
    log.warn("assignment", "the server does not answer: going by its last list");
    accept(kept, [], undefined);
  }

  await loop(
    {
      name: "assignment",
      every,
      retry: retry.assignment,
      bounded: true,
      wake,
      onError(error, { record: { consecutiveFailures: failures } }, pause) {
        if (failures === 1) log.warn("assignment", `cannot ask the server: ${messageOf(error)}`);
        recall();
        return pauseAfter(error, Math.max(every / 2, pause));
      },
    },
    async (signal, report) => {
      const askedAt = steadyNow();
      const items = await api.projects(node, signal);
      took = [...took, steadyNow() - askedAt].slice(-SLOW_ANSWERS);
      clearTimeout(fallback);
      heard = true;
      if (report.record.consecutiveFailures > 0) {
        log.info("assignment", "the server answers again");
        wake?.call();
      }
      const retained = hold(items);
      if (store.write([...held.values()])) changedAt = askedAt;
      accept(items, retained, askedAt);
      report.note(`${items.length} projects`);
      return jitter(pollPause(every, askedAt - changedAt, took), 0.1, Math.random);
    },
    registry,
    signal,
  );
  clearTimeout(fallback);
}
