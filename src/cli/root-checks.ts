// What `run` makes sure of before a root agent does anything: that nobody but root can change what it executes.
import { existsSync } from "node:fs";
import { stateDirectory } from "../agent/agent.ts";
import type { Config } from "../config/load.ts";
import type { Settings } from "../config/options.ts";
import { takeOverGoAgent } from "../install/go-agent/take-over.ts";
import { SYSTEM_PATH, currentAccount, findAccount, isRoot } from "../platform/account.ts";
import { compiled } from "../platform/build.ts";
import { distrustOf, secure, sharedAbove } from "../platform/trust/root-trust.ts";

/** Takes over the executable at its usual place. Returns warnings; throws an AgentError, exit 5, for one elsewhere. */
export function secureExecutable(): string[] {
  if (!isRoot()) return [];
  return [
    // From source the program is Bun, in a checkout that belongs to whoever works on it.
    ...(compiled ? secure(process.execPath, "executable") : []),
    ...SYSTEM_PATH.split(":")
      .filter((directory) => existsSync(directory))
      .flatMap((directory) => distrustOf(directory) ?? [])
      .map(({ problem, mend }) => `${problem}, and root runs programs from there; mend it with: ${mend}`),
  ];
}

/** A warning for state below a directory like /tmp: it may be swept there, and others can make or exchange names. */
export function placeWarnings(settings: Pick<Settings, "state_file">): string[] {
  if (!isRoot()) return [];
  return sharedAbove(stateDirectory(settings)).map(
    (shared) =>
      `the state directory lies below ${shared}, where others than root may write: keep it elsewhere (state_file)`,
  );
}

/** Ends what a Go agent left in force on this node. Beside an agent for containers alone, that one may still be in use. */
export function endGoAgent({ settings, planes }: Pick<Config, "settings" | "planes">): string[] {
  if (!planes.includes("noderax")) return [];
  const task = findAccount(settings.task_user) ?? findAccount("nobody") ?? currentAccount();
  const { done, warnings } = takeOverGoAgent({ task, stateDirectory: stateDirectory(settings) });
  return [...done, ...warnings];
}
