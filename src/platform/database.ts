// The agent's one SQLite file: what must survive a crash is committed here before the side effect happens.
import { Database } from "bun:sqlite";
import { chmodSync, existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { errnoOf } from "../lib/errno.ts";
import { AgentError, messageOf } from "../lib/agent-error.ts";
import { setAside } from "./set-aside.ts";

/** A step of the schema. Steps run once, in order, each in its own transaction. Never edit one that was released. */
export interface Migration {
  readonly name: string;
  readonly sql: string;
}

/**
 * Opens (and makes, mode 0600) the database with WAL and `synchronous=FULL`, so that a commit is on disk when
 * the call returns. `:memory:` is allowed. Throws an AgentError: "state.damaged" for what is no database, or not a whole
 * one, and "state.database" for everything else.
 */
export function openDatabase(path: string, migrations: readonly Migration[]): Database {
  if (path !== ":memory:") {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    checkFile(path);
  }
  let database: Database | undefined;
  try {
    database = new Database(path, { create: true, strict: true });
    return prepare(database, path, migrations);
  } catch (error) {
    database?.close();
    if (/^SQLITE_(NOTADB|CORRUPT)/.test(errnoOf(error))) throw damaged(path, messageOf(error), error);
    if (error instanceof AgentError) throw error;
    throw new AgentError("state.database", `${path} cannot be used: ${messageOf(error)}`, {
      hint: "It holds what this machine still owes to its control plane. Restore it, or move it away to begin without it.",
      cause: error,
    });
  }
}

function prepare(database: Database, path: string, migrations: readonly Migration[]): Database {
  if (path !== ":memory:") chmodSync(path, 0o600);
  // First: a command that reads it beside us may hold it for a moment.
  database.run("PRAGMA busy_timeout = 5000");
  database.run("PRAGMA journal_mode = WAL");
  database.run("PRAGMA synchronous = FULL");
  // The write-ahead log grows to 1 MB, not 4: it must fit into the reserve of a full disk.
  database.run("PRAGMA wal_autocheckpoint = 250");
  database.run("PRAGMA foreign_keys = ON");
  // What is deleted may have been a secret of a task.
  database.run("PRAGMA secure_delete = ON");
  migrate(database, migrations);
  if (path !== ":memory:") checkContent(database, path);
  return database;
}

/** An empty file is none of ours: SQLite would take it for new, and nobody would hear that something was lost. */
function checkFile(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isFile()) throw damaged(path, "it is not a file");
  if (found.size === 0) throw damaged(path, "it is empty");
}

/** A larger one is not read through at every start: it would take more than a tenth of a second. */
const CHECKED_MAX = 32 << 20;

function checkContent(database: Database, path: string): void {
  if (statSync(path).size > CHECKED_MAX) return;
  const [row] = database.query<{ quick_check: string }, []>("PRAGMA quick_check(1)").all();
  if (row?.quick_check !== "ok") throw damaged(path, row?.quick_check ?? "no answer");
}

const damaged = (path: string, why: string, cause?: unknown): AgentError =>
  new AgentError("state.damaged", `${path} is damaged: ${why}`, { cause });

/** Moves a database out of the way, with what is not checkpointed yet. Returns the new path. */
export function setDatabaseAside(path: string, why: string): string {
  const aside = setAside(path, why);
  if (existsSync(`${path}-wal`)) renameSync(`${path}-wal`, `${aside}-wal`);
  rmSync(`${path}-shm`, { force: true, recursive: true });
  return aside;
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
