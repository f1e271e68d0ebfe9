// The journal: the phase of every task, committed before the next step is taken.
//
//   claimed ──▶ started ──▶ launched ──▶ reported ──▶ finished
//      │           │ (rejected, cancelled while waiting)  ▲
//      ▼           └──────────────────────────────────────┘
//   dropped   the server did not let it start: it is never run
//
// started   the server answered 200: the command may run, and a completion must be sent
// launched  the command may be running; the run directory has its state
// reported  the completion is in the outbox, behind the last log row
// finished  the server has accepted or refused the completion
import type { Database } from "bun:sqlite";
import * as v from "valibot";
import { AgentError, messageOf } from "../lib/agent-error.ts";
import { type SteadyTime, type WallTime, epochOf, steadyOf, wallFrom } from "../lib/clock.ts";
import type { Migration } from "../platform/database.ts";
import { Moment, momentOf, steadyOfMoment } from "../platform/moment.ts";
import { type Shipped, nothingShipped } from "./output/rows.ts";

export const journalMigration: Migration = {
  name: "journal-1",
  sql: `CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    payload TEXT NOT NULL,
    phase TEXT NOT NULL,
    claimed_at INTEGER NOT NULL,
    started_at INTEGER,
    launch TEXT,
    stop TEXT,
    shipped TEXT NOT NULL,
    outcome TEXT,
    finished_at INTEGER
  ) STRICT;
  CREATE INDEX tasks_phase ON tasks (phase);
  CREATE TABLE open_claim (one INTEGER PRIMARY KEY CHECK (one = 1), until INTEGER NOT NULL) STRICT;`,
};

/** The starts of limits, as JSON of a Moment: a plain wall time is wrong once the clock is set. */
export const momentsMigration: Migration = {
  name: "journal-2",
  sql: `ALTER TABLE tasks ADD COLUMN claimed TEXT;
  ALTER TABLE tasks ADD COLUMN started TEXT;
  ALTER TABLE tasks DROP COLUMN started_at;
  DROP TABLE open_claim;
  CREATE TABLE open_claim (one INTEGER PRIMARY KEY CHECK (one = 1), until TEXT NOT NULL) STRICT;`,
};

/** The start as it is reported, written before the report: JSON of an Announcement. */
export const announcedMigration: Migration = {
  name: "journal-3",
  sql: "ALTER TABLE tasks ADD COLUMN announced TEXT;",
};

/**
 * The payload in a table of its own: every step of a task writes its whole row, which is a megabyte with a large payload.
 * The row keeps the line of the command that people see.
 */
export const payloadsMigration: Migration = {
  name: "journal-4",
  sql: `CREATE TABLE payloads (id TEXT PRIMARY KEY, payload TEXT NOT NULL) STRICT;
  INSERT INTO payloads SELECT id, payload FROM tasks WHERE phase IN ('claimed', 'started', 'launched', 'reported');
  ALTER TABLE tasks ADD COLUMN command TEXT;
  UPDATE tasks
    SET command = substr(payload ->> 'command', 1, instr((payload ->> 'command') || char(10), char(10)) - 1)
    WHERE json_valid(payload);
  ALTER TABLE tasks DROP COLUMN payload;`,
};

/**
 * The claim that may still wait on the server after this process has ended. It may take a task that nobody runs, and a
 * second claim beside it could receive the same task.
 */
export interface OpenClaim {
  /** The time until which it may wait; undefined when there is none. */
  read(): SteadyTime | undefined;
  /** Undefined: the claim was answered. */
  write(until: SteadyTime | undefined): void;
}

/** Creates the open claim of this database. Throws the errors of SQLite. */
export function createOpenClaim(database: Database): OpenClaim {
  return {
    read() {
      const row = database.query<{ until: string }, []>("SELECT until FROM open_claim").get();
      return row === null ? undefined : readMoment(row.until);
    },
    write(until) {
      if (until === undefined) database.run("DELETE FROM open_claim");
      else
        database
          .query<null, [string]>("INSERT OR REPLACE INTO open_claim VALUES (1, ?)")
          .run(JSON.stringify(momentOf(until)));
    },
  };
}

const readMoment = (json: string): SteadyTime => steadyOfMoment(v.parse(Moment, JSON.parse(json)));

export type TaskPhase = "claimed" | "started" | "launched" | "reported" | "finished" | "dropped";
const UNFINISHED = "('claimed', 'started', 'launched', 'reported')";

/** A launch: enough to find the command after a crash of the agent. Times are of the steady clock of the boot `bootId`. */
export const Launch = v.object({
  at: v.number(),
  /** The same in milliseconds since the epoch, for people. */
  wall: v.number(),
  bootId: v.string(),
  /** Counts the run directories: a launch that never began is repeated in a new one. */
  attempt: v.number(),
  /** "agent": work in the agent's own process. */
  mode: v.picklist(["session", "unit", "agent"]),
  /** The command is ended at this time. */
  deadline: v.number(),
  /** The limit in words. */
  limit: v.string(),
  /** The limits that are named when they were hit. */
  limits: v.optional(v.object({ memory: v.number(), processes: v.number() })),
  /** Milliseconds between SIGTERM and SIGKILL; absent: task_kill_grace. */
  grace: v.optional(v.number()),
  /** Whether a stop signals the program alone, and kills nothing. */
  stopsItself: v.optional(v.literal(true)),
  /** The command runs as root; absent: as the task user. */
  asRoot: v.optional(v.boolean()),
  /** The name of which only one task runs at a time. */
  exclusive: v.optional(v.string()),
  /** How often work in the agent was begun again after a restart. */
  repeats: v.optional(v.number()),
  /** The start of the agent's service that ends its tasks when it stops. */
  service: v.optional(v.object({ name: v.string(), invocation: v.string() })),
});
export type Launch = v.InferOutput<typeof Launch>;
/** The form before `wall` was added: its times count from the epoch. */
const EarlierLaunch = v.omit(Launch, ["wall"]);

/** Why the command is being ended. "server": the control plane has already given the task a final status. */
const Stop = v.object({
  reason: v.picklist(["cancel", "timeout", "server"]),
  text: v.string(),
  at: v.number(),
});
export type Stop = v.InferOutput<typeof Stop>;

const TaskOutcome = v.object({
  status: v.picklist(["success", "failed", "cancelled", "timeout", "dropped"]),
  exitCode: v.nullable(v.number()),
  text: v.nullable(v.string()),
  /** Run after the completion is delivered: a reboot, a restart of the agent. */
  afterwards: v.optional(v.array(v.string())),
});
export type TaskOutcome = v.InferOutput<typeof TaskOutcome>;

const ShippedRow = v.object({
  rows: v.number(),
  lastRowAt: v.number(),
  offset: v.object({ stdout: v.number(), stderr: v.number() }),
  lastRow: v.string(),
});

/** The reported start: in milliseconds since the epoch by the server's clock, and on the steady clock. */
export interface Announced {
  readonly epoch: number;
  readonly at: SteadyTime;
}
const Announcement = v.object({ epoch: v.number(), at: Moment });

/** What the task is about, as the control plane sent it. */
export type Payload = Readonly<Record<string, unknown>>;

export interface TaskRecord {
  readonly id: string;
  readonly type: string;
  /** The first line of the command of its payload, up to 200 characters; undefined when it has none. */
  readonly command: string | undefined;
  readonly phase: TaskPhase;
  /** For people; limits are counted from `claimed`. */
  readonly claimedAt: WallTime;
  readonly claimed: SteadyTime;
  /** When the server accepted the start. */
  readonly started: SteadyTime | undefined;
  /** Undefined before the start was reported for the first time. */
  readonly announced: Announced | undefined;
  readonly launch: Launch | undefined;
  readonly stop: Stop | undefined;
  readonly shipped: Shipped;
  readonly outcome: TaskOutcome | undefined;
  readonly finishedAt: WallTime | undefined;
}

interface JournalRow {
  id: string;
  type: string;
  command: string | null;
  phase: TaskPhase;
  claimed_at: number;
  claimed: string | null;
  started: string | null;
  announced: string | null;
  launch: string | null;
  stop: string | null;
  shipped: string;
  outcome: string | null;
  finished_at: number | null;
}

export interface Journal {
  /**
   * Records a claimed task. False when it was started before: then it must not run again. A task that was claimed or
   * dropped without a start may be claimed again.
   */
  claimed(task: { id: string; type: string; payload: Payload }, now: Moment): boolean;
  announced(id: string, start: Announced): void;
  started(id: string, now: Moment): void;
  launched(id: string, launch: Launch): void;
  stopping(id: string, stop: Stop): void;
  shipped(id: string, shipped: Shipped): void;
  reported(id: string, outcome: TaskOutcome): void;
  finished(id: string, now: WallTime): void;
  dropped(id: string, text: string, now: WallTime): void;
  find(id: string): TaskRecord | undefined;
  /** Reads the payload of an unfinished task, which may be large; of a finished one it is deleted. Throws "tasks.journal". */
  payload(id: string): Payload;
  /** Bytes of that payload, without reading it. */
  payloadSize(id: string): number;
  /** Tasks whose id begins with `prefix`; at most two, enough to see that it is not unique. */
  startingWith(prefix: string): TaskRecord[];
  unfinished(): TaskRecord[];
  /** Newest first. */
  recent(limit: number): TaskRecord[];
  /** Deletes the oldest finished tasks beyond `kept`. */
  forgetAllBut(kept: number): void;
  /** Runs `work` in one transaction: journal and outbox change together or not at all. */
  atomically(work: () => void): void;
}

/** Tasks are ordered by `rowid`, their order of claiming: wall-clock times do not stay in order when the clock is set. */
export function createJournal(database: Database): Journal {
  const all = (where: string, ...values: (string | number)[]): TaskRecord[] =>
    database
      .query<JournalRow, (string | number)[]>(`SELECT * FROM tasks ${where}`)
      .all(...values)
      .map((row) => readable(row.id, () => parse(row)));
  const set = (assignments: string, id: string, ...values: (string | number)[]): void => {
    database
      .query<null, (string | number)[]>(`UPDATE tasks SET ${assignments} WHERE id = ?`)
      .run(...values, id);
  };
  const find = (id: string): TaskRecord | undefined => all("WHERE id = ?", id)[0];
  const remove = (id: string): void => {
    database.query<null, [string]>("DELETE FROM payloads WHERE id = ?").run(id);
  };
  const atomically = (work: () => void): void => database.transaction(work)();

  return {
    claimed({ id, type, payload }, now) {
      const known = find(id);
      if (known !== undefined && known.phase !== "claimed" && known.phase !== "dropped") return false;
      atomically(() => {
        database
          .query<null, (string | number | null)[]>(
            `INSERT OR REPLACE INTO tasks (id, type, command, phase, claimed_at, claimed, shipped, announced)
             VALUES (?, ?, ?, 'claimed', ?, ?, ?, (SELECT announced FROM tasks WHERE id = ?1 AND phase = 'claimed'))`,
          )
          .run(
            id,
            type,
            commandLine(payload),
            Math.round(now.wall),
            JSON.stringify(now),
            JSON.stringify(nothingShipped),
          );
        database
          .query<null, [string, string]>("INSERT OR REPLACE INTO payloads VALUES (?, ?)")
          .run(id, JSON.stringify(payload));
      });
      return true;
    },
    announced: (id, { epoch, at }) => set("announced = ?", id, JSON.stringify({ epoch, at: momentOf(at) })),
    started: (id, now) => set("phase = 'started', started = ?", id, JSON.stringify(now)),
    launched: (id, launch) => set("phase = 'launched', launch = ?", id, JSON.stringify(launch)),
    stopping: (id, stop) => set("stop = ?", id, JSON.stringify(stop)),
    shipped: (id, shipped) => set("shipped = ?", id, JSON.stringify(shipped)),
    reported: (id, outcome) => set("phase = 'reported', outcome = ?", id, JSON.stringify(outcome)),
    finished: (id, now) =>
      atomically(() => {
        set("phase = 'finished', finished_at = ?", id, epochOf(now));
        remove(id);
      }),
    dropped(id, text, now) {
      const outcome: TaskOutcome = { status: "dropped", exitCode: null, text };
      atomically(() => {
        set("phase = 'dropped', outcome = ?, finished_at = ?", id, JSON.stringify(outcome), epochOf(now));
        remove(id);
      });
    },
    payload(id) {
      const row = database
        .query<{ payload: string }, [string]>("SELECT payload FROM payloads WHERE id = ?")
        .get(id);
      return readable(id, () => v.parse(v.record(v.string(), v.unknown()), JSON.parse(row?.payload ?? "")));
    },
    payloadSize(id) {
      const row = database
        .query<{ size: number }, [string]>("SELECT octet_length(payload) AS size FROM payloads WHERE id = ?")
        .get(id);
      return row?.size ?? 0;
    },
    find,
    startingWith: (prefix) =>
      all("WHERE substr(id, 1, ?) = ? ORDER BY rowid DESC LIMIT 2", prefix.length, prefix),
    unfinished: () => all(`WHERE phase IN ${UNFINISHED} ORDER BY rowid`),
    recent: (limit) => all("ORDER BY rowid DESC LIMIT ?", limit),
    forgetAllBut(kept) {
      database
        .query<null, [number]>(
          `DELETE FROM tasks WHERE id IN (SELECT id FROM tasks WHERE phase IN ('finished', 'dropped')
           ORDER BY rowid DESC LIMIT -1 OFFSET ?)`,
        )
        .run(kept);
    },
    atomically,
  };
}

/** Returns the first line of the command, for people: the rest of a payload may be large or secret. */
function commandLine({ command }: Payload): string | null {
  const line = typeof command === "string" ? command.trimStart().split("\n", 1)[0] : undefined;
  return line?.slice(0, 200) ?? null;
}

function readable<T>(id: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new AgentError(
      "tasks.journal",
      `task ${id} in the journal (state.db) cannot be read: ${messageOf(error)}`,
      {
        hint: "Was it written by another version? Run that one, or move state.db away to begin without it.",
        cause: error,
      },
    );
  }
}

function parse(row: JournalRow): TaskRecord {
  const claimedAt = wallFrom(row.claimed_at);
  return {
    id: row.id,
    type: row.type,
    command: row.command ?? undefined,
    phase: row.phase,
    claimedAt,
    claimed: row.claimed === null ? steadyOf(claimedAt) : readMoment(row.claimed),
    started: row.started === null ? undefined : readMoment(row.started),
    announced: row.announced === null ? undefined : parseAnnounced(JSON.parse(row.announced)),
    launch: row.launch === null ? undefined : parseLaunch(JSON.parse(row.launch)),
    stop: row.stop === null ? undefined : v.parse(Stop, JSON.parse(row.stop)),
    shipped: v.parse(ShippedRow, JSON.parse(row.shipped)),
    outcome: row.outcome === null ? undefined : v.parse(TaskOutcome, JSON.parse(row.outcome)),
    finishedAt: row.finished_at === null ? undefined : wallFrom(row.finished_at),
  };
}

function parseAnnounced(json: unknown): Announced {
  const { epoch, at } = v.parse(Announcement, json);
  return { epoch, at: steadyOfMoment(at) };
}

function parseLaunch(json: unknown): Launch {
  if (v.is(Launch, json)) return json;
  const earlier = v.parse(EarlierLaunch, json);
  const [at, deadline] = [steadyOf(wallFrom(earlier.at)), steadyOf(wallFrom(earlier.deadline))];
  return { ...earlier, at, deadline, wall: earlier.at };
}
