// A lock that lives as long as its process: however that ends, nobody has to clean up after it.
import { Database } from "bun:sqlite";
import { chmodSync, truncateSync } from "node:fs";
import { errnoOf } from "../lib/errno.ts";

/**
 * Takes the lock at `path`, or returns undefined when another process — or this one — holds it. SQLite's own lock on
 * a file is the kernel's, which a crash gives back.
 */
export function takeLock(path: string): Disposable | undefined {
  try {
    return tryLock(path);
  } catch (error) {
    if (errnoOf(error) !== "SQLITE_NOTADB") throw error;
    // Somebody wrote into it. Not replaced, only emptied: two agents that both find it so must meet in one file.
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
