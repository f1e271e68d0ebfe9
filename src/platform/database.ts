// Opens the SQLite database of the agent. What must survive a crash is committed in it before the side
// effect.
import { Database } from "bun:sqlite";
import { chmodSync, existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { errnoOf } from "../lib/errno.ts";
import { AgentError, messageOf } from "../lib/agent-error.ts";
import { setAside } from "./set-aside.ts";

/** A step of the schema. Steps run once, in order, each in a transaction. Never edit a released one. */
export interface Migration {
  readonly name: string;
  readonly sql: string;
}

/**
 * Opens the database, or makes it with mode 0600. Uses WAL and `synchronous=FULL`, so that a commit is on
 * disk when the call returns. Accepts `:memory:`. Throws "state.damaged" for a file that is no intact
 * database, "state.database" for every other failure.
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
  // First of all: a command that reads the database may lock it for a moment.
  database.run("PRAGMA busy_timeout = 5000");
  database.run("PRAGMA journal_mode = WAL");
  database.run("PRAGMA synchronous = FULL");
  // 250 pages of 4 KiB: the write-ahead log grows to 1 MB, since it must fit into the reserve of a full disk.
  database.run("PRAGMA wal_autocheckpoint = 250");
  database.run("PRAGMA foreign_keys = ON");
  // The default is 2 MB: the cache grows to it as the journal does, and answers no faster.
  database.run(`PRAGMA cache_size = -${CACHE_KIB}`);
  // Deleted rows may hold a secret of a task.
  database.run("PRAGMA secure_delete = ON");
  migrate(database, migrations);
  if (path !== ":memory:") checkContent(database, path);
  return database;
}

/** KiB of pages: more than one task uses. Others are read again from the page cache of the system. */
const CACHE_KIB = 512;

/** Frees what the database keeps in memory only to be faster: cached pages. */
export function releaseCaches(database: Database): void {
  database.run("PRAGMA shrink_memory");
}

/** Throws "state.damaged" for an empty file, which SQLite would use as a new database without an error. */
function checkFile(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isFile()) throw damaged(path, "it is not a file");
  if (found.size === 0) throw damaged(path, "it is empty");
}

/** Bytes. Larger databases are not checked at the start: it would take more than 0.1 s. */
const CHECKED_MAX = 32 << 20;

function checkContent(database: Database, path: string): void {
  if (statSync(path).size > CHECKED_MAX) return;
  const [row] = database.query<{ quick_check: string }, []>("PRAGMA quick_check(1)").all();
  if (row?.quick_check !== "ok") throw damaged(path, row?.quick_check ?? "no answer");
}

const damaged = (path: string, why: string, cause?: unknown): AgentError =>
  new AgentError("state.damaged", `${path} is damaged: ${why}`, { cause });

/** Renames a database together with its write-ahead log. Returns the new path. */
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
