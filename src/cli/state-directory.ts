// Checks that the agent can write its state directory, before anything depends on it.
import { accessSync, constants, statSync } from "node:fs";
import { dirname } from "node:path";
import { errnoOf, errnoText } from "../lib/errno.ts";
import { stateDirectory } from "../agent/agent.ts";
import { AgentError, exit } from "../lib/agent-error.ts";
import type { Settings } from "../config/options.ts";
import { isAgentsPlace, requireTrusted } from "../platform/trust/root-trust.ts";

/**
 * Throws "state.directory" (exit 5) when the directory cannot be created or written, "trust.*" when others than root could change
 * it under a root agent. Creates nothing.
 */
export function checkStateDirectory(settings: Pick<Settings, "state_file">): void {
  const directory = stateDirectory(settings);
  // `run` checks the directory itself: it takes ownership of one that the task user owns.
  requireTrusted(directory, "state directory", {
    isOwn: (step, isLast) => isLast || isAgentsPlace(step),
    passShared: true,
  });
  try {
    const place = existingAncestor(directory);
    if (!statSync(place).isDirectory()) throw new Error(`${place} is not a directory`);
    accessSync(place, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw new AgentError(
      "state.directory",
      `state_file: ${directory} cannot be written: ${errnoText(error)}`,
      {
        hint: "Choose another place, or run as a user who can write there:  noderax-agent config set state_file /path/to/agent_identity.json",
        exit: exit.refused,
        cause: error,
      },
    );
  }
}

function existingAncestor(path: string): string {
  try {
    return statSync(path, { throwIfNoEntry: false }) === undefined ? existingAncestor(dirname(path)) : path;
  } catch (error) {
    // A file is in the place of a directory.
    if (errnoOf(error) === "ENOTDIR") return existingAncestor(dirname(path));
    throw error;
  }
}
