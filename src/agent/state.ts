// Opens the state of the agent: sets damaged files aside, with a warning, and recovers what it can.
import type { Database } from "bun:sqlite";
import { lstatSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { steadyNow } from "../lib/clock.ts";
import { AgentError, messageOf, hasCode } from "../lib/agent-error.ts";
import { seconds } from "../lib/duration.ts";
import { createOutbox } from "../control/outbox.ts";
import { keepIdentityCopy } from "../identity/identity-copy.ts";
import { readPending } from "../identity/identity-file.ts";
import { type Migration, openDatabase, setDatabaseAside } from "../platform/database.ts";
import type { Log } from "../platform/log.ts";
import { setAside } from "../platform/set-aside.ts";
import { CLAIM_WAIT_MAX } from "../protocol/noderax/limits.ts";
import { createJournal, createOpenClaim } from "../tasks/journal.ts";
import { adoptRuns, interruptedTasks, reportInterrupted } from "../tasks/recover.ts";

const PENDING = "pending_enrollment.json";
const FILES = ["agent.lock", "agent.sock", "disk-reserve", "assignment.json", PENDING];

/**
 * Restores a damaged identity, and sets aside files of a wrong kind in the place of the agent's. Returns
 * warnings.
 */
export function repairFiles(stateFile: string, runs: string, log: Log): string[] {
  const directory = dirname(stateFile);
  const brought = keepIdentityCopy(stateFile);
  if (brought !== undefined) log.error("identity", brought);
  const pending = join(directory, PENDING);
  const isTorn = isDirectory(pending) === false && readPending(stateFile) === undefined;
  return [
    ...(brought === undefined ? [] : [brought]),
    ...clearPlaces(directory, runs, isTorn ? [pending] : [], log),
  ];
}

function clearPlaces(directory: string, runs: string, torn: readonly string[], log: Log): string[] {
  const wrong = [
    ...torn,
    ...FILES.map((name) => join(directory, name)).filter((path) => isDirectory(path) === true),
    ...[runs].filter((path) => isDirectory(path) === false),
  ];
  return wrong.map((path) => {
    const text = `${path} was damaged, or something else stood in its place: it is ${setAside(path, "damaged")} now`;
    log.error("agent", text);
    return text;
  });
}

/** Undefined when it does not exist. */
const isDirectory = (path: string): boolean | undefined =>
  lstatSync(path, { throwIfNoEntry: false })?.isDirectory();

export interface StatePaths {
  readonly database: string;
  readonly runs: string;
  /** A database that belonged to another account. */
  readonly former: string | undefined;
}

export interface OpenedState {
  readonly database: Database;
  /** For `status`. */
  readonly warnings: readonly string[];
}

/**
 * Opens the database, a new one if it is damaged. Throws "state.database" for any other reason, such as a
 * full disk.
 */
export function openState(paths: StatePaths, migrations: readonly Migration[], log: Log): OpenedState {
  const warnings: string[] = [];
  const database = openWhole(paths, migrations, log, warnings);
  if (paths.former !== undefined) {
    const ids = interruptedTasks(paths.former);
    const why =
      "interrupted: the agent runs as root now, and does not go on with what it began as another user";
    reportInterrupted(ids, why, createJournal(database), createOutbox(database));
    if (ids.length > 0) log.warn("tasks", `${ids.length} tasks are reported as failed: ${why}`);
  }
  return { database, warnings };
}

function openWhole(
  { database: path, runs }: StatePaths,
  migrations: readonly Migration[],
  log: Log,
  warnings: string[],
): Database {
  try {
    return openReadable(path, migrations);
  } catch (error) {
    if (!hasCode(error, "state.damaged")) throw error;
    const aside = setDatabaseAside(path, "damaged");
    const database = openDatabase(path, migrations);
    const [journal, outbox] = [createJournal(database), createOutbox(database)];
    const { adopted, finished } = adoptRuns(runs, journal, outbox);
    // Also reports tasks of the damaged journal that have no run directory: nothing else would end them.
    reportInterrupted(interruptedTasks(aside), "interrupted: the agent's state was damaged", journal, outbox);
    // The earlier process may have left an open claim, which the lost journal would have named.
    createOpenClaim(database).write(steadyNow() + CLAIM_WAIT_MAX + seconds(1));
    const text = `${error.message}; it is ${basename(aside)} now. From the run directories ${adopted} unfinished and ${finished} finished tasks were taken up; reports that waited for the control plane may be lost`;
    log.error("agent", text);
    warnings.push(text);
    return database;
  }
}

/** Throws "state.damaged" for a row that cannot be read, too: it would stop the recovery of all tasks. */
function openReadable(path: string, migrations: readonly Migration[]): Database {
  const database = openDatabase(path, migrations);
  try {
    const journal = createJournal(database);
    for (const { id } of journal.unfinished()) journal.payload(id);
    return database;
  } catch (error) {
    database.close();
    throw new AgentError("state.damaged", `${path} is damaged: ${messageOf(error)}`, { cause: error });
  }
}
