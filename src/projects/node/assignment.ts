// Polls the server for the projects of this node and stores the answer, so that a machine that boots without its server
// still starts its containers, also after its database was damaged. While the server does not answer, the last answer holds.
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
import type { AssignmentCopy } from "./assignment-copy.ts";
import { type Condition, NAME, Project, ProjectPlace } from "../../protocol/caravanserai/resources.ts";

/** Includes Failed: what still runs keeps serving, the rest is tried again, and a corrected specification repairs it. */
const WORK = ["Scheduled", "Running", "Failed", "Terminating"] as const;
export type AssignedPhase = (typeof WORK)[number];

/** A project of this node. One whose specification cannot be read can still be removed and reported. */
export interface Assigned {
  readonly name: string;
  readonly phase: AssignedPhase;
  readonly spec:
    | { readonly project: Project }
    | { readonly problem: string; readonly reason: "ReconcileError" | "RemoveError" };
  /** The conditions on the server. */
  readonly conditions: readonly Condition[];
}

export interface Assignment {
  /** Projects on the server's list. */
  readonly projects: readonly Assigned[];
  /** Projects that left the list without proof that they are no longer ours, as they were last listed. */
  readonly retained: readonly Assigned[];
  /** When the server was asked, of the steady clock; undefined for one that was kept from an earlier life. */
  readonly askedAt: SteadyTime | undefined;
}

/**
 * Reads the projects of this node from the items of an answer. Leaves out projects of other nodes and in other phases,
 * whatever the server's filter did. `nameless` counts items without a readable name.
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

/** The items that `readAssignment` reads as projects of this node, by name. */
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

/** Another agent gave up its removal. It is not started again, and not removed either: we do not know what is intended now. */
const isHalfRemoved = (phase: string, conditions: readonly Condition[]): boolean =>
  phase === "Failed" && conditions.some(({ reason }) => reason === "RemoveError");

const HALF_REMOVED: Assigned["spec"] = {
  problem: "its removal was not finished; delete it once more",
  reason: "RemoveError",
};

function readSpec(item: unknown, name: string): Assigned["spec"] {
  const unreadable = (problem: string): Assigned["spec"] => ({ problem, reason: "ReconcileError" });
  if (!NAME.test(name)) return unreadable(`"${name.slice(0, 80)}" is not a name for a project`);
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
  // One row, valid for this server and node only. `version` is the format of `items`.
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
  /** The items of the last answer; undefined when there is none from this server for this node. */
  read(): readonly unknown[] | undefined;
  /** Returns false, and writes nothing, when the items did not change. */
  write(items: readonly unknown[]): boolean;
}

/** `copy` is read where the database knows nothing, and written with every change. */
export function createAssignmentStore(
  database: Database,
  server: string,
  node: string,
  copy: AssignmentCopy,
): AssignmentStore {
  let stored: string | undefined;
  return {
    read() {
      const row = database
        .query<{ items: string }, [number, string, string]>(
          "SELECT items FROM assignment WHERE version = ? AND server = ? AND node = ?",
        )
        .get(VERSION, server, node);
      if (row === null) return copy.read();
      stored = row.items;
      const items: unknown = JSON.parse(row.items);
      if (!Array.isArray(items)) return undefined;
      // A crash may have come between the two writes, and an earlier version kept no copy.
      copy.write(items);
      return items;
    },
    write(items) {
      const text = JSON.stringify(items);
      if (text === stored) return false;
      database.run("INSERT OR REPLACE INTO assignment VALUES (1, ?, ?, ?, ?)", [VERSION, server, node, text]);
      copy.write(items);
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
  /** Whether a project that left the list is proven to be no longer this node's. */
  readonly isLost: (name: string) => boolean;
  readonly registry: LoopRegistry;
  /** Called when the server answers again. */
  readonly wake?: Wake;
  readonly log: Log;
  /** Default 3 s. */
  readonly fallbackAfter?: Duration;
}

/** The stored list is used when the server has not answered by then: it may have moved our projects meanwhile. */
const FALLBACK_AFTER: Duration = seconds(3);

/** After a start and after each change the server is asked more often: a person who changes one project may change another. */
const LIVELY_FOR: Duration = seconds(30);
const LIVELY_POLL: Duration = milliseconds(500);

/** The server counts as slow after so many slow answers in a row. A single one may be due to a lock or a lost packet. */
const SLOW_ANSWERS = 3;
/** Longest pause because of a slow server: reports wait for a list. */
const SLOW_PAUSE: Duration = seconds(15);

/** `quiet`: how long nothing has changed; `took`: how long the last answers took, the newest last. */
export function pollPause(every: Duration, quiet: Duration, took: readonly Duration[]): Duration {
  const pause = quiet < LIVELY_FOR ? Math.min(every, LIVELY_POLL) : every;
  const usual = took.length < SLOW_ANSWERS ? 0 : Math.min(...took.slice(-SLOW_ANSWERS));
  // Pause four times as long as an answer takes: we use at most 20 % of the server's time.
  return Math.max(pause, Math.min(4 * usual, SLOW_PAUSE));
}

/** Polls every `every`, more often after changes, less often while the server is slow or fails. Resolves after the abort. */
export async function assignmentLoop(
  {
    api,
    store,
    node,
    onAssignment,
    isLost,
    registry,
    wake,
    log,
    fallbackAfter = FALLBACK_AFTER,
  }: AssignmentPorts,
  every: Duration,
  signal: AbortSignal,
): Promise<void> {
  const stored = store.read();
  /** Items by name: listed now, or listed before and not lost. */
  let held = workIn(stored ?? [], node);
  let unread = 0;
  let changedAt = steadyNow();
  let took: readonly Duration[] = [];
  const fallback = setTimeout(useStored, fallbackAfter);

  /** Returns the items that left the list and are not lost; updates `held`, which is stored for the next start. */
  function retain(items: readonly unknown[]): readonly unknown[] {
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
      log.warn("assignment", `${nameless} projects of the server's list have no readable name`);
    unread = nameless;
    onAssignment({ projects, retained: readAssignment(retained, node).projects, askedAt });
  }

  let hasAnswered = false;
  function useStored(): void {
    clearTimeout(fallback);
    if (stored === undefined || hasAnswered || signal.aborted) return;
    hasAnswered = true;
    log.warn("assignment", "the server does not answer: using its last list");
    accept(stored, [], undefined);
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
        useStored();
        return pauseAfter(error, Math.max(every / 2, pause));
      },
    },
    async (signal, report) => {
      const askedAt = steadyNow();
      const items = await api.projects(node, signal);
      took = [...took, steadyNow() - askedAt].slice(-SLOW_ANSWERS);
      clearTimeout(fallback);
      hasAnswered = true;
      if (report.record.consecutiveFailures > 0) {
        log.info("assignment", "the server answers again");
        wake?.call();
      }
      const retained = retain(items);
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
