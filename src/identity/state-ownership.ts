// Makes sure that only root can change the state directory of a root agent, since root executes and obeys
// files in it.
//
// Takes over the directory and the identity in it where the task user or the account of a Go agent owns them.
// Sets aside what such an account put there for root to execute or obey, since a task may have written it.
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { AgentError, exit } from "../lib/agent-error.ts";
import { type Account, findAccount, isRoot, userName } from "../platform/account.ts";
import { setDatabaseAside } from "../platform/database.ts";
import type { Log } from "../platform/log.ts";
import { setAside } from "../platform/set-aside.ts";
import type { PathStep } from "../platform/trust/decide.ts";
import { takeOverPath } from "../platform/trust/take-over.ts";
import { identityCopyPath } from "./identity-copy.ts";
import { isAgentsPlace, secure } from "../platform/trust/root-trust.ts";

/** The account that the installer of the Go agent makes. */
const GO_ACCOUNT = "noderax";
const STICKY = 0o1000;

/** Files that the agent writes and reads in its state directory. */
const DATABASE = "state.db";
const OWN = [
  DATABASE,
  `${DATABASE}-wal`,
  `${DATABASE}-shm`,
  "agent.lock",
  "agent.sock",
  "tasks",
  "assignment.json",
];
/** Kept with any owner: it holds an approval that waits for a person. */
const KEPT = ["pending_enrollment.json"];

export interface SecuredState {
  /** For `status`. */
  readonly warnings: readonly string[];
  /** New path of a database of another account, which names the unfinished tasks. */
  readonly formerDatabase: string | undefined;
}

const NOTHING: SecuredState = { warnings: [], formerDatabase: undefined };

/**
 * As root, makes the state directory or takes it over; does nothing for other users. Throws "trust.refused"
 * (exit 5) when another user could change it or a directory above it, "state.planted" when another user's
 * files in it would be used.
 */
export function secureState(stateFile: string, task: Account, log: Log): SecuredState {
  if (!isRoot()) return NOTHING;
  const directory = dirname(stateFile);
  const owners = new Set([0, task.uid, findAccount(GO_ACCOUNT)?.uid ?? 0]);
  const isOwn = (step: PathStep, isLast: boolean): boolean =>
    isAgentsPlace(step) || (isLast && owners.has(step.uid) && (step.uid !== 0 || (step.mode & STICKY) === 0));
  const warnings = secure(directory, "state directory", { isOwn, passShared: true });
  makeDirectory(directory);
  if (warnings.length > 0) hideNames(directory);
  for (const text of warnings) log.warn("agent", text);
  let formerDatabase: string | undefined;
  for (const path of [
    ...[...OWN, ...KEPT].map((name) => join(directory, name)),
    stateFile,
    identityCopyPath(stateFile),
  ]) {
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined || found.uid === 0) continue;
    if (!owners.has(found.uid)) throw planted(path, found.uid);
    if (OWN.includes(basename(path)) || !found.isFile()) {
      const isDatabase = basename(path) === DATABASE;
      const aside = (isDatabase ? setDatabaseAside : setAside)(path, `of-${userName(found.uid)}`);
      closeToOthers(aside);
      if (isDatabase) formerDatabase = aside;
      log.warn(
        "agent",
        `${path} belonged to ${userName(found.uid)}: root does not use it; it is ${aside} now`,
      );
    } else {
      takeOverPath({ path, kind: "file", uid: found.uid, mode: found.mode });
      log.warn("agent", `${path} belonged to ${userName(found.uid)}; it is root's now`);
    }
  }
  return { warnings: [], formerDatabase };
}

/**
 * Makes the directory and those above it. Checks each, since others could make it first where they may write.
 */
function makeDirectory(directory: string): void {
  if (lstatSync(directory, { throwIfNoEntry: false }) !== undefined) return;
  makeDirectory(dirname(directory));
  mkdirSync(directory, { mode: 0o700 });
  secure(directory, "state directory", { isOwn: () => false, passShared: true });
}

/** Sets mode 0711: tasks may have their home below and must pass through, but not list it. */
function hideNames(directory: string): void {
  const handle = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fchmodSync(handle, 0o711);
  } finally {
    closeSync(handle);
  }
}

/**
 * Gives a file or directory to root; leaves links and pipes. Its name belongs to root by now, so nobody can
 * exchange it.
 */
function closeToOthers(path: string): void {
  const found = lstatSync(path);
  if (!found.isFile() && !found.isDirectory()) return;
  const handle = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if (found.isFile() && fstatSync(handle).nlink > 1) return;
    fchownSync(handle, 0, 0);
    fchmodSync(handle, found.isDirectory() ? 0o700 : 0o600);
  } finally {
    closeSync(handle);
  }
}

const planted = (path: string, uid: number): AgentError =>
  new AgentError("state.planted", `${path} belongs to ${userName(uid)}, and root would use it`, {
    hint: `Look at it, then move it away, or give it to root:  chown -R root: ${path}`,
    exit: exit.refused,
  });
