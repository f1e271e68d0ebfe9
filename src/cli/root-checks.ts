// Checks, before a root agent does anything, that nobody but root can change what it executes.
import { existsSync } from "node:fs";
import { stateDirectory } from "../agent/agent.ts";
import type { Config } from "../config/load.ts";
import type { Settings } from "../config/options.ts";
import { takeOverGoAgent } from "../install/go-agent/take-over.ts";
import { SYSTEM_PATH, currentAccount, findAccount, isRoot } from "../platform/account.ts";
import { compiled } from "../platform/build.ts";
import { distrustOf, secure, sharedAbove } from "../platform/trust/root-trust.ts";

/**
 * Takes ownership of the executable at its usual place, and warns of unsafe directories in root's PATH.
 * Throws "trust.*" (exit 5) when others can change an executable elsewhere.
 */
export function secureExecutable(): string[] {
  if (!isRoot()) return [];
  return [
    // From source the program is Bun, in a checkout that belongs to a developer.
    ...(compiled ? secure(process.execPath, "executable") : []),
    ...SYSTEM_PATH.split(":")
      .filter((directory) => existsSync(directory))
      .flatMap((directory) => distrustOf(directory) ?? [])
      .map(({ problem, mend }) => `${problem}, and root runs programs from there; mend it with: ${mend}`),
  ];
}

/** Warns of state below a directory like /tmp: it may be cleaned up, and other users can create entries beside it. */
export function placeWarnings(settings: Pick<Settings, "state_file">): string[] {
  if (!isRoot()) return [];
  return sharedAbove(stateDirectory(settings)).map(
    (shared) =>
      `the state directory is below ${shared}, where users other than root can write: choose another place (state_file)`,
  );
}

/**
 * Removes the privileges that a Go agent left on this node. Returns what was done, and warnings. Does nothing without the Noderax
 * plane: then a Go agent may still be in use.
 */
export function endGoAgent({ settings, planes }: Pick<Config, "settings" | "planes">): string[] {
  if (!planes.includes("noderax")) return [];
  const task = findAccount(settings.task_user) ?? findAccount("nobody") ?? currentAccount();
  const { done, warnings } = takeOverGoAgent({ task, stateDirectory: stateDirectory(settings) });
  return [...done, ...warnings];
}
