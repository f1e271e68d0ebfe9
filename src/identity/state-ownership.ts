// Who may change the state directory: root runs what lies in it, so nobody else may, and the task user least of all.
import { chmodSync, lchownSync, lstatSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { AgentError, exit } from "../lib/agent-error.ts";
import { type Account, isRoot } from "../platform/account.ts";
import type { Log } from "../platform/log.ts";

/** What the agent itself makes in its state directory. */
const OWN = ["state.db", "agent.lock", "tasks"];

/**
 * Takes over, from an agent of another make, what stands in the hands of the task user: the identity file and the
 * directory around it, which may stay that user's home but no longer his to change. A directory of a third user is only
 * warned about. Returns warnings for `status`; throws an AgentError when somebody else has put our own files there.
 */
export function secureState(stateFile: string, task: Account, log: Log): string[] {
  const directory = dirname(stateFile);
  const before = statSync(directory, { throwIfNoEntry: false });
  if (!isRoot() || before === undefined) return [];
  for (const path of OWN.map((name) => join(directory, name))) {
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found !== undefined && found.uid !== 0) throw planted(path);
  }
  if (lstatSync(stateFile, { throwIfNoEntry: false }) !== undefined) lchownSync(stateFile, 0, 0);
  if (before.uid === task.uid && before.uid !== 0) {
    lchownSync(directory, 0, 0);
    chmodSync(directory, 0o711);
    log.warn(
      "agent",
      `the state directory ${directory} belonged to ${task.name}, as whom tasks run; it is root's now`,
    );
  } else if ((before.mode & 0o022) !== 0) {
    chmodSync(directory, before.mode & 0o7755);
    log.warn("agent", `the state directory ${directory} could be written by others; it no longer can`);
  }
  if (before.uid === 0 || before.uid === task.uid) return [];
  const text = `the state directory ${directory} does not belong to root: its owner can become root through it; mend it with: chown root: ${directory}`;
  log.warn("agent", text);
  return [text];
}

const planted = (path: string): AgentError =>
  new AgentError("state.planted", `${path} belongs to another user, and root would use it`, {
    hint: "Look at it, then move it away, or give it to root:  chown -R root: …",
    exit: exit.refused,
  });
