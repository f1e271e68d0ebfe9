// Which terminals there are, on disk before a shell is started: what an agent that died owes to the control plane, and
// what it left running.
import type { Database } from "bun:sqlite";
import { epochOf, wallNow } from "../lib/clock.ts";
import type { Migration } from "../platform/database.ts";
import type { Log } from "../platform/log.ts";
import { type ProcessId, bootId } from "../platform/processes.ts";
import { messageOf } from "../lib/agent-error.ts";
import type { SessionEnd } from "./session-end.ts";

export const terminalMigration: Migration = {
  name: "terminal-1",
  sql: `CREATE TABLE terminals (
    id TEXT PRIMARY KEY,
    started_at INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    pid INTEGER,
    start_time TEXT,
    ended_at INTEGER,
    exit_code INTEGER,
    reason TEXT
  ) STRICT;`,
};

export interface LedgerEntry {
  readonly id: string;
  /** The shell, if it was started since this boot. */
  readonly leader: ProcessId | undefined;
  /** Undefined for one that was alive when the agent was not any more. */
  readonly end: SessionEnd | undefined;
}

/** Never throws: a full disk must not keep the person out who could make room on it. */
export interface Ledger {
  starting(id: string): void;
  started(id: string, leader: ProcessId): void;
  ended(id: string, end: SessionEnd): void;
  /** The control plane knows of the end. */
  forget(id: string): void;
  all(): LedgerEntry[];
}

interface Row {
  id: string;
  boot_id: string;
  pid: number | null;
  start_time: string | null;
  ended_at: number | null;
  exit_code: number | null;
  reason: string | null;
}

export function createLedger(database: Database, log: Log): Ledger {
  const boot = bootId();
  const attempt = (write: () => void): void => {
    try {
      write();
    } catch (error) {
      log.warn("terminal", `a terminal could not be written down: ${messageOf(error)}`);
    }
  };
  return {
    starting: (id) =>
      attempt(() =>
        database
          .query<null, [string, number, string]>(
            "INSERT OR REPLACE INTO terminals (id, started_at, boot_id) VALUES (?, ?, ?)",
          )
          .run(id, epochOf(wallNow()), boot),
      ),
    started: (id, { pid, startTime }) =>
      attempt(() =>
        database
          .query<null, [number, string, string]>("UPDATE terminals SET pid = ?, start_time = ? WHERE id = ?")
          .run(pid, startTime, id),
      ),
    ended: (id, { exitCode, reason }) =>
      attempt(() =>
        database
          .query<null, [number, number | null, string | null, string]>(
            "UPDATE terminals SET ended_at = ?, exit_code = ?, reason = ? WHERE id = ?",
          )
          .run(epochOf(wallNow()), exitCode, reason ?? null, id),
      ),
    forget: (id) =>
      attempt(() => database.query<null, [string]>("DELETE FROM terminals WHERE id = ?").run(id)),
    all: () =>
      database
        .query<Row, []>("SELECT * FROM terminals ORDER BY rowid")
        .all()
        .map((row) => entryOf(row, boot)),
  };
}

function entryOf(row: Row, boot: string): LedgerEntry {
  const { id, pid, start_time: startTime } = row;
  const known = row.boot_id === boot && pid !== null && startTime !== null;
  return {
    id,
    leader: known ? { pid, startTime } : undefined,
    end: row.ended_at === null ? undefined : { exitCode: row.exit_code, reason: row.reason ?? undefined },
  };
}
