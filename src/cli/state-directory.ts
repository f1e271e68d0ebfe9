// Whether the agent can keep its state where it is told to: said before anything happens, in words and by its setting.
import { accessSync, constants, statSync } from "node:fs";
import { dirname } from "node:path";
import { errnoOf } from "../lib/errno.ts";
import { stateDirectory } from "../agent/agent.ts";
import { AgentError, exit, messageOf } from "../lib/agent-error.ts";
import type { Settings } from "../config/options.ts";
import { isAgentsPlace, requireTrusted } from "../platform/trust/root-trust.ts";

/** Throws an AgentError when the state directory cannot be made or written, or is no place for root. Makes nothing itself. */
export function checkStateDirectory(settings: Pick<Settings, "state_file">): void {
  const directory = stateDirectory(settings);
  // The directory itself is judged by `run`, which takes over one that the task user owns.
  requireTrusted(directory, "state directory", {
    isOwn: (step, isLast) => isLast || isAgentsPlace(step),
    passShared: true,
  });
  try {
    const place = nearestThere(directory);
    if (!statSync(place).isDirectory()) throw new Error(`${place} is not a directory`);
    accessSync(place, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new AgentError("state.directory", `state_file: ${directory} cannot be written: ${reason(error)}`, {
      hint: "Choose another place, or run it as a user who may:  noderax-agent config set state_file /path/to/agent_identity.json",
      exit: exit.refused,
      cause: error,
    });
  }
}

function nearestThere(path: string): string {
  try {
    return statSync(path, { throwIfNoEntry: false }) === undefined ? nearestThere(dirname(path)) : path;
  } catch (error) {
    // A file stands where a directory should.
    if (errnoOf(error) === "ENOTDIR") return nearestThere(dirname(path));
    throw error;
  }
}

/** "EROFS: read-only file system, access '/x'" → "read-only file system" */
const reason = (error: unknown): string => messageOf(error).replace(/^E[A-Z]+: (.+), \w+ '.*'$/, "$1");
