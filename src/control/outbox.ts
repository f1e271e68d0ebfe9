// The durable outbox: what must reach the server stands on disk until it was taken or refused, and leaves in order.
//
//   push ──▶ waiting ──▶ sending ──▶ delivered (deleted)
//               ▲            │
//               └── pause ◀──┘  no answer: `doubtful`, the courier finds out before it sends again
//
// Every lane (one per task) has one parcel in flight; lanes do not wait for each other.
import type { Database } from "bun:sqlite";
import { messageOf } from "../lib/agent-error.ts";
import { type Duration, seconds } from "../lib/duration.ts";
import { type Random, backoff } from "../lib/backoff.ts";
import { steadyNow } from "../lib/clock.ts";
import { Notifier } from "../lib/notifier.ts";
import type { Migration } from "../platform/database.ts";
import { mayHaveArrived } from "./network-error.ts";
import { pauseAfter, retry } from "./retry.ts";

export const outboxMigration: Migration = {
  name: "outbox-1",
  sql: `CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    lane TEXT NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    doubtful INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE INDEX outbox_lane ON outbox (lane, id);`,
};

export interface Parcel {
  readonly id: number;
  readonly lane: string;
  readonly kind: string;
  /** JSON, as it was pushed. */
  readonly body: string;
  /** Tries before this one. */
  readonly attempts: number;
  /** An earlier try got no answer: the server may have it already. */
  readonly doubtful: boolean;
}

/**
 * Delivers one parcel. Resolves when it is settled: taken by the server, or refused for good. Throws when it should
 * be tried again.
 */
export type Courier = (parcel: Parcel, signal: AbortSignal) => Promise<void>;

export interface OutboxState {
  readonly waiting: number;
  readonly lastError: string | undefined;
}

export interface Outbox {
  /** Durable when it returns. May be called inside a transaction of the same database. */
  push(lane: string, kind: string, body: unknown): void;
  /** True when nothing of this lane is left. */
  isEmpty(lane: string): boolean;
  /** Resolves when the lane is empty, `signal` aborts, or `limit` is over (default: never). */
  drained(lane: string, signal: AbortSignal, limit?: Duration): Promise<void>;
  /** Resolves when every lane is empty, or `signal` aborts. */
  flushed(signal: AbortSignal): Promise<void>;
  /** Starts to deliver, also what an earlier process left behind. */
  start(courier: Courier, signal: AbortSignal): void;
  /** The server was just reached: lanes that pause try again at once. */
  nudge(): void;
  state(): OutboxState;
}

interface Row {
  id: number;
  lane: string;
  kind: string;
  body: string;
  attempts: number;
  doubtful: number;
}

export function createOutbox(database: Database, random: Random = Math.random): Outbox {
  const insert = database.query<null, [string, string, string]>(
    "INSERT INTO outbox (lane, kind, body) VALUES (?, ?, ?)",
  );
  const first = database.query<Row, [string]>("SELECT * FROM outbox WHERE lane = ? ORDER BY id LIMIT 1");
  const trying = database.query<null, [number]>(
    "UPDATE outbox SET attempts = attempts + 1, doubtful = 1 WHERE id = ?",
  );
  const missed = database.query<null, [number]>("UPDATE outbox SET doubtful = 0 WHERE id = ?");
  const remove = database.query<null, [number]>("DELETE FROM outbox WHERE id = ?");
  const lanes = database.query<{ lane: string }, []>("SELECT DISTINCT lane FROM outbox ORDER BY lane");
  const count = database.query<{ n: number }, []>("SELECT count(*) AS n FROM outbox");

  const working = new Set<string>();
  /** A worker has ended. */
  const ended = new Notifier();
  const nudged = new Notifier();
  let running: { courier: Courier; signal: AbortSignal } | undefined;
  let lastError: string | undefined;

  function work(lane: string): void {
    if (running === undefined || running.signal.aborted || working.has(lane)) return;
    const { courier, signal } = running;
    working.add(lane);
    void deliverLane(lane, courier, signal).finally(() => {
      working.delete(lane);
      ended.notify();
      // A parcel may have been pushed between the last look and now.
      if (!signal.aborted && first.get(lane) !== null) work(lane);
    });
  }

  async function deliverLane(lane: string, courier: Courier, signal: AbortSignal): Promise<void> {
    let failures = 0;
    for (let row = first.get(lane); row !== null && !signal.aborted; row = first.get(lane)) {
      const parcel = { ...row, doubtful: row.doubtful === 1 };
      try {
        trying.run(row.id); // Throws on a full disk; then this pauses as well.
        await courier(parcel, signal);
        remove.run(row.id);
        failures = 0;
        lastError = undefined;
      } catch (error) {
        if (!parcel.doubtful && !mayHaveArrived(error)) markAsMissed(row.id);
        if (signal.aborted) return;
        failures++;
        lastError = messageOf(error);
        await nudged.wait(pauseAfter(error, backoff(retry.outbox, failures, random)), signal);
      }
    }
  }

  /** A parcel that stays doubtful is only looked for in vain: no reason to stop delivering. */
  function markAsMissed(id: number): void {
    try {
      missed.run(id);
    } catch (error) {
      lastError = messageOf(error);
    }
  }

  /** Waits for `isDone`, asked whenever a worker ends. */
  async function settle(
    isDone: () => boolean,
    signal: AbortSignal,
    limit: Duration = Infinity,
  ): Promise<void> {
    const end = steadyNow() + limit;
    while (!isDone() && !signal.aborted && steadyNow() < end)
      await ended.wait(Math.min(seconds(1), end - steadyNow()), signal);
  }

  return {
    push(lane, kind, body) {
      insert.run(lane, kind, JSON.stringify(body));
      // After the caller's transaction, if there is one.
      queueMicrotask(() => work(lane));
    },
    isEmpty: (lane) => first.get(lane) === null,
    drained: (lane, signal, limit) => settle(() => first.get(lane) === null, signal, limit),
    flushed: (signal) => settle(() => (count.get()?.n ?? 0) === 0, signal),
    start(courier, signal) {
      running = { courier, signal };
      for (const { lane } of lanes.all()) work(lane);
    },
    nudge: () => nudged.notify(),
    state: () => ({ waiting: count.get()?.n ?? 0, lastError }),
  };
}
