// Who may change the state directory: root runs what lies in it, so nobody else may, and the task user least of all.
//
// Taken over: the directory itself where the task user or the Go agent's account owns it, and the identity in it. Set
// aside: what such an account has put there for root to execute or obey, since a task may have written it.
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

/** The account that the Go agent's installer makes. */
const GO_ACCOUNT = "noderax";
const STICKY = 0o1000;

/** What the agent makes in its state directory and reads again. */
const DATABASE = "state.db";
const OWN = [DATABASE, `${DATABASE}-wal`, `${DATABASE}-shm`, "agent.lock", "agent.sock", "tasks"];
/** What a person approved: kept, whoever wrote it down. */
const KEPT = ["pending_enrollment.json"];

export interface SecuredState {
  /** For `status`. */
  readonly warnings: readonly string[];
  /** Where a database of another account lies now: it says which tasks were unfinished. */
  readonly formerDatabase: string | undefined;
}

const NOTHING: SecuredState = { warnings: [], formerDatabase: undefined };

/**
 * As root: makes the state directory, or makes it root's. Throws an AgentError, exit 5, when another user could change it
 * or a directory above it, or has put files there that the agent would use.
 */
export function secureState(stateFile: string, task: Account, log: Log): SecuredState {
  if (!isRoot()) return NOTHING;
  const directory = dirname(stateFile);
  const owners = new Set([0, task.uid, findAccount(GO_ACCOUNT)?.uid ?? 0]);
  const isOwn = (step: PathStep, isLast: boolean): boolean =>
    isAgentsPlace(step) || (isLast && owners.has(step.uid) && (step.uid !== 0 || (step.mode & STICKY) === 0));
  const said = secure(directory, "state directory", { isOwn, passShared: true });
  makeDirectory(directory);
  if (said.length > 0) hideNames(directory);
  for (const text of said) log.warn("agent", text);
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

/** Below a directory that everybody may write to, whoever is first makes the entry: only one of our own making is used. */
function makeDirectory(directory: string): void {
  if (lstatSync(directory, { throwIfNoEntry: false }) !== undefined) return;
  makeDirectory(dirname(directory));
  mkdirSync(directory, { mode: 0o700 });
  secure(directory, "state directory", { isOwn: () => false, passShared: true });
}

/** Tasks may have their home here and must enter it, but need not see what is in it. */
function hideNames(directory: string): void {
  const handle = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fchmodSync(handle, 0o711);
  } finally {
    closeSync(handle);
  }
}

/** Its name is root's by now, so that nobody can exchange it; a link or a pipe is left as it is. */
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
