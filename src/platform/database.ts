// The agent's one SQLite file: what must survive a crash is committed here before the side effect happens.
import { Database } from "bun:sqlite";
import { chmodSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { AgentError, messageOf } from "../lib/agent-error.ts";

/** A step of the schema. Steps run once, in order, each in its own transaction. Never edit one that was released. */
export interface Migration {
  readonly name: string;
  readonly sql: string;
}

/**
 * Opens (and makes, mode 0600) the database with WAL and `synchronous=FULL`, so that a commit is on disk when
 * the call returns. `:memory:` is allowed.
 */
export function openDatabase(path: string, migrations: readonly Migration[]): Database {
  if (path !== ":memory:") mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  try {
    return prepare(new Database(path, { create: true, strict: true }), path, migrations);
  } catch (error) {
    throw new AgentError("state.database", `${path} cannot be used: ${messageOf(error)}`, {
      hint: "It holds what this machine still owes to its control plane. Restore it, or move it away to begin without it.",
      cause: error,
    });
  }
}

function prepare(database: Database, path: string, migrations: readonly Migration[]): Database {
  if (path !== ":memory:") chmodSync(path, 0o600);
  database.run("PRAGMA journal_mode = WAL");
  database.run("PRAGMA synchronous = FULL");
  // The write-ahead log grows to 1 MB, not 4: it must fit into the reserve of a full disk.
  database.run("PRAGMA wal_autocheckpoint = 250");
  database.run("PRAGMA foreign_keys = ON");
  database.run("PRAGMA busy_timeout = 5000");
  // What is deleted may have been a secret of a task.
  database.run("PRAGMA secure_delete = ON");
  migrate(database, migrations);
  return database;
}

function migrate(database: Database, migrations: readonly Migration[]): void {
  database.run("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, at TEXT NOT NULL) STRICT");
  const done = new Set(
    database
      .query<{ name: string }, []>("SELECT name FROM migrations")
      .all()
      .map((row) => row.name),
  );
  for (const { name, sql } of migrations) {
    if (done.has(name)) continue;
    database.transaction(() => {
      database.run(sql);
      database.run("INSERT INTO migrations VALUES (?, ?)", [name, new Date().toISOString()]);
    })();
  }
}
