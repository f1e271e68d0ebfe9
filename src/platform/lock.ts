// A lock on a file that the kernel releases when the process ends, however it ends.
import { Database } from "bun:sqlite";
import { chmodSync, truncateSync } from "node:fs";
import { errnoOf } from "../lib/errno.ts";

/**
 * Takes the lock at `path`; undefined when another process, or this one, holds it. Uses the lock of SQLite,
 * which is the kernel's.
 */
export function takeLock(path: string): Disposable | undefined {
  try {
    return tryLock(path);
  } catch (error) {
    if (errnoOf(error) !== "SQLITE_NOTADB") throw error;
    // Somebody wrote into it. Empty it instead of replacing it: two agents that find it so must lock the same
    // file.
    truncateSync(path);
    return tryLock(path);
  }
}

function tryLock(path: string): Disposable | undefined {
  const database = new Database(path, { create: true });
  try {
    chmodSync(path, 0o600);
    database.run("PRAGMA busy_timeout = 0");
    database.run("BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    if (errnoOf(error).startsWith("SQLITE_BUSY")) return undefined;
    throw error;
  }
  return { [Symbol.dispose]: () => database.close() };
}
