// The agent's database, composed from the tables of its parts. schema.sql shows the result (`npm run format` renders it).
import { outboxMigration } from "../control/outbox.ts";
import { locationMigration } from "../identity/location/report.ts";
import { rootAccessMigration } from "../identity/root-access.ts";
import type { Migration } from "../platform/database.ts";
import { assignedNamesMigration } from "../projects/node/assigned-names.ts";
import { assignmentMigration } from "../projects/node/assignment.ts";
import { continuityMigration } from "../projects/node/continuity.ts";
import { drainMigration } from "../projects/node/drain.ts";
import { endedJobsMigration } from "../projects/docker/ended-jobs.ts";
import { pullMemoryMigration } from "../projects/reconcile/pull-memory.ts";
import { recordsMigration } from "../projects/reconcile/records.ts";
import {
  announcedMigration,
  journalMigration,
  momentsMigration,
  payloadsMigration,
} from "../tasks/journal.ts";
import { terminalMigration } from "../terminal/session-store.ts";

/** In the order of their release: an older database gets those that it lacks. Append; never reorder or edit. */
export const AGENT_MIGRATIONS: readonly Migration[] = [
  outboxMigration,
  journalMigration,
  rootAccessMigration,
  terminalMigration,
  assignmentMigration,
  assignedNamesMigration,
  pullMemoryMigration,
  endedJobsMigration,
  drainMigration,
  continuityMigration,
  momentsMigration,
  announcedMigration,
  recordsMigration,
  locationMigration,
  payloadsMigration,
];
