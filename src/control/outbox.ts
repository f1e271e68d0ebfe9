// The durable outbox: keeps each call on disk until the server has accepted or refused it, and sends them in
// order.
//
//   push ──▶ waiting ──▶ sending ──▶ delivered (deleted)
//               ▲            │
//               └── pause ◀──┘  no answer: `doubtful`, the sender asks the server before it sends again
//
// Each queue (one a task) has one entry in flight; queues do not wait for each other. The table calls a queue
// a lane.
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

export interface OutboxEntry {
  readonly id: number;
  readonly queue: string;
  readonly kind: string;
  /** JSON, as it was pushed. */
  readonly body: string;
  /** Tries before this one. */
  readonly attempts: number;
  /** An earlier try got no answer: the server may have it already. */
  readonly doubtful: boolean;
}

/**
 * Delivers one entry. Resolves when the server has accepted it or refused it for good; throws when it is to
 * be tried again.
 */
export type OutboxSender = (entry: OutboxEntry, signal: AbortSignal) => Promise<void>;

export interface OutboxState {
  readonly waiting: number;
  readonly lastError: string | undefined;
}

export interface Outbox {
  /**
   * Adds an entry, which is on disk when this returns. May be called inside a transaction of the same
   * database.
   */
  push(queue: string, kind: string, body: unknown): void;
  /** Whether nothing of this queue is left. */
  isEmpty(queue: string): boolean;
  /** Resolves when the queue is empty, `signal` aborts, or `limit` is over (default: never). */
  drained(queue: string, signal: AbortSignal, limit?: Duration): Promise<void>;
  /** Resolves when every queue is empty, or `signal` aborts. */
  flushed(signal: AbortSignal): Promise<void>;
  /** Starts to deliver, including the entries of earlier processes. Once a process. */
  start(sender: OutboxSender, signal: AbortSignal): void;
  /** Ends the pauses of all queues: the server was just reached. */
  nudge(): void;
  state(): OutboxState;
}

interface Row {
  id: number;
  queue: string;
  kind: string;
  body: string;
  attempts: number;
  doubtful: number;
}

/** Opens the outbox in the database. Entries of earlier processes are in it. */
export function createOutbox(database: Database, random: Random = Math.random): Outbox {
  const insert = database.query<null, [string, string, string]>(
    "INSERT INTO outbox (lane, kind, body) VALUES (?, ?, ?)",
  );
  const first = database.query<Row, [string]>(
    "SELECT id, lane AS queue, kind, body, attempts, doubtful FROM outbox WHERE lane = ? ORDER BY id LIMIT 1",
  );
  const trying = database.query<null, [number]>(
    "UPDATE outbox SET attempts = attempts + 1, doubtful = 1 WHERE id = ?",
  );
  const missed = database.query<null, [number]>("UPDATE outbox SET doubtful = 0 WHERE id = ?");
  const remove = database.query<null, [number]>("DELETE FROM outbox WHERE id = ?");
  const queues = database.query<{ queue: string }, []>(
    "SELECT DISTINCT lane AS queue FROM outbox ORDER BY lane",
  );
  const count = database.query<{ n: number }, []>("SELECT count(*) AS n FROM outbox");

  const working = new Set<string>();
  /** Notified when a worker ends. */
  const ended = new Notifier();
  const nudged = new Notifier();
  let running: { sender: OutboxSender; signal: AbortSignal } | undefined;
  let lastError: string | undefined;

  function work(queue: string): void {
    if (running === undefined || running.signal.aborted || working.has(queue)) return;
    const { sender, signal } = running;
    working.add(queue);
    void deliverQueue(queue, sender, signal).finally(() => {
      working.delete(queue);
      ended.notify();
      // An entry may have been pushed after the last query.
      if (!signal.aborted && first.get(queue) !== null) work(queue);
    });
  }

  async function deliverQueue(queue: string, sender: OutboxSender, signal: AbortSignal): Promise<void> {
    let failures = 0;
    for (let row = first.get(queue); row !== null && !signal.aborted; row = first.get(queue)) {
      const entry = { ...row, doubtful: row.doubtful === 1 };
      try {
        trying.run(row.id); // Throws on a full disk; then this pauses as well.
        await sender(entry, signal);
        remove.run(row.id);
        failures = 0;
        lastError = undefined;
      } catch (error) {
        if (!entry.doubtful && !mayHaveArrived(error)) markAsMissed(row.id);
        if (signal.aborted) return;
        failures++;
        lastError = messageOf(error);
        await nudged.wait(pauseAfter(error, backoff(retry.outbox, failures, random)), signal);
      }
    }
  }

  /**
   * Clears `doubtful`. A failure is no reason to stop: the sender then asks the server once more than
   * necessary.
   */
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
    push(queue, kind, body) {
      insert.run(queue, kind, JSON.stringify(body));
      // After the caller's transaction, if there is one.
      queueMicrotask(() => work(queue));
    },
    isEmpty: (queue) => first.get(queue) === null,
    drained: (queue, signal, limit) => settle(() => first.get(queue) === null, signal, limit),
    flushed: (signal) => settle(() => (count.get()?.n ?? 0) === 0, signal),
    start(sender, signal) {
      running = { sender, signal };
      for (const { queue } of queues.all()) work(queue);
    },
    nudge: () => nudged.notify(),
    state: () => ({ waiting: count.get()?.n ?? 0, lastError }),
  };
}
