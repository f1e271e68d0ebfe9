// Stores every terminal session in SQLite, before its shell is started, until the control plane has acknowledged its end.
// After a crash the next agent finds here which shells to end and which ends to report.
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

export interface StoredSession {
  readonly id: string;
  /** The shell; undefined when it was not started, or in an earlier boot. */
  readonly leader: ProcessId | undefined;
  /** Undefined when the session was open as the agent died. */
  readonly end: SessionEnd | undefined;
}

/** Writes never throw: a full disk must not keep out the person who could make room on it. They log a warning. */
export interface SessionStore {
  starting(id: string): void;
  started(id: string, leader: ProcessId): void;
  ended(id: string, end: SessionEnd): void;
  /** Removes a session whose end the control plane has acknowledged. */
  forget(id: string): void;
  /** The stored sessions, oldest first. */
  all(): StoredSession[];
}

interface TerminalRow {
  id: string;
  boot_id: string;
  pid: number | null;
  start_time: string | null;
  ended_at: number | null;
  exit_code: number | null;
  reason: string | null;
}

export function createSessionStore(database: Database, log: Log): SessionStore {
  const boot = bootId();
  const attempt = (write: () => void): void => {
    try {
      write();
    } catch (error) {
      log.warn("terminal", `the state of a terminal could not be stored: ${messageOf(error)}`);
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
        .query<TerminalRow, []>("SELECT * FROM terminals ORDER BY rowid")
        .all()
        .map((row) => storedSession(row, boot)),
  };
}

function storedSession(row: TerminalRow, boot: string): StoredSession {
  const { id, pid, start_time: startTime } = row;
  const known = row.boot_id === boot && pid !== null && startTime !== null;
  return {
    id,
    leader: known ? { pid, startTime } : undefined,
    end: row.ended_at === null ? undefined : { exitCode: row.exit_code, reason: row.reason ?? undefined },
  };
}
