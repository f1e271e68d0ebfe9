// What the tests of tasks share: a directory of their own, a database, a journal with one task in it.
import type { Database } from "bun:sqlite";
import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Outbox, createOutbox, outboxMigration } from "../../../src/control/outbox.ts";
import { openDatabase } from "../../../src/platform/database.ts";
import { bootId } from "../../../src/platform/processes.ts";
import {
  type Journal,
  type TaskRecord,
  createJournal,
  journalMigration,
  announcedMigration,
  momentsMigration,
  payloadsMigration,
} from "../../../src/tasks/journal.ts";

/** Another one in every run: the processes of a task are found by it, and those of a run beside this one are not ours. */
export const TASK = randomUUID();

/** `using directory = scratchDirectory()`, then `directory.path`. */
export function scratchDirectory(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "noderax-test-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

export interface Store extends Disposable {
  readonly database: Database;
  readonly journal: Journal;
  readonly outbox: Outbox;
}

/** Journal and outbox in one database, as the agent has them. */
export function openStore(path = ":memory:"): Store {
  const database = openDatabase(path, [
    journalMigration,
    outboxMigration,
    momentsMigration,
    announcedMigration,
    payloadsMigration,
  ]);
  return {
    database,
    journal: createJournal(database),
    outbox: createOutbox(database, () => 0.5),
    [Symbol.dispose]: () => database.close(),
  };
}

/** The record of a task that was let through the gate. */
export function startedTask(journal: Journal, id = TASK, now = 0): TaskRecord {
  const moment = { boot: bootId(), steady: now, wall: now };
  journal.claimed({ id, type: "shell.exec", payload: { command: "true" } }, moment);
  journal.started(id, moment);
  const record = journal.find(id);
  if (record === undefined) throw new Error("the journal forgot the task");
  return record;
}
