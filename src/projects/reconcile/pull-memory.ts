// Stores failed pulls: an agent that is restarted again and again must not ask a registry each time.
import type { Database } from "bun:sqlite";
import { type Duration, days, seconds } from "../../lib/duration.ts";
import type { Migration } from "../../platform/database.ts";
import { type SteadyTime, type WallTime, epochOf, steadyNow, wallNow } from "../../lib/clock.ts";
import type { PullState } from "../plan/images.ts";

export type FailedPull = PullState & { readonly state: "failed" };

export const pullMemoryMigration: Migration = {
  name: "caravanserai-pull-failures",
  // Times are milliseconds since the epoch: the steady clock of one process says nothing to the next.
  sql: `CREATE TABLE pull_failure (
    image TEXT PRIMARY KEY,
    message TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    retry_at INTEGER NOT NULL,
    lasting INTEGER NOT NULL
  ) STRICT`,
};

/** Longest pause after a restart of the agent: its operator may have just logged in to the registry. */
const WAIT_MAX: Duration = seconds(30);
const FORGET_AFTER: Duration = days(1);

interface Row {
  readonly image: string;
  readonly message: string;
  readonly attempts: number;
  readonly retry_at: number;
  readonly lasting: number;
}

export interface PullMemory {
  /** The stored failures by full reference. None has to wait longer than 30 s. */
  recall(): ReadonlyMap<string, FailedPull>;
  failed(reference: string, state: FailedPull): void;
  forget(reference: string): void;
}

/** `now` is the steady clock that retry times of this process are in, `wallClock` the one they are stored in. */
export function createPullMemory(
  database: Database,
  now: () => SteadyTime = steadyNow,
  wallClock: () => WallTime = wallNow,
): PullMemory {
  const wall = (): number => epochOf(wallClock());
  return {
    recall() {
      // Discard rows dated far in the future: the clock was wrong when they were written, or is now.
      const [from, to] = [wall() - FORGET_AFTER, wall() + FORGET_AFTER];
      database.run("DELETE FROM pull_failure WHERE retry_at NOT BETWEEN ? AND ?", [from, to]);
      const rows = database.query<Row, []>("SELECT * FROM pull_failure").all();
      return new Map(
        rows.map(({ image, message, attempts, retry_at, lasting }): [string, FailedPull] => [
          image,
          {
            state: "failed",
            message,
            attempts,
            retryAt: now() + Math.min(retry_at - wall(), WAIT_MAX),
            lasting: lasting === 1,
          },
        ]),
      );
    },
    failed(reference, { message, attempts, retryAt, lasting }) {
      const row = [reference, message, attempts, Math.ceil(wall() + retryAt - now()), lasting ? 1 : 0];
      database.run("INSERT OR REPLACE INTO pull_failure VALUES (?, ?, ?, ?, ?)", row);
    },
    forget(reference) {
      database.run("DELETE FROM pull_failure WHERE image = ?", [reference]);
    },
  };
}
