// Chooses the shell of a terminal, and builds its command line and environment.
import { realpathSync } from "node:fs";
import { basename } from "node:path";
import { quote } from "../lib/text.ts";
import { seconds } from "../lib/duration.ts";
import { type Account, type Runner, SYSTEM_PATH, accountVariables } from "../platform/account.ts";
import type { TrialRunner } from "../platform/trial.ts";

/** The environment marker of a terminal's processes, by which those that left its session are found. */
export const TERMINAL_MARKER = "NODERAX_TERMINAL";
/** Returns the environment entry by which processes of a terminal are found after they left its session. */
export const environmentMarker = (sessionId: string): string => `${TERMINAL_MARKER}=${sessionId}`;

/** The service in which a terminal runs, where systemd can start it. */
export const terminalUnit = (sessionId: string): string => `noderax-terminal-${sessionId}.service`;

const SHELLS = ["bash", "zsh", "sh"] as const;
/** Login shells of accounts that nobody may log in to. */
const NO_SHELL = new Set(["nologin", "false", "true", "sync", "halt", "shutdown"]);

/**
 * Lists the shells to try, in order, each file once: the account's own, then bash, zsh and sh in every directory. Root's
 * own is left out: a root terminal runs one of the three.
 */
export function shellCandidates(account: Account, isRoot: boolean, resolve = realPath): string[] {
  const own = isRoot || NO_SHELL.has(basename(account.shell)) ? [] : [account.shell];
  const directories = [...new Set(["/bin", "/usr/bin", ...SYSTEM_PATH.split(":")])];
  const known = SHELLS.flatMap((name) => directories.map((directory) => `${directory}/${name}`));
  const seen = new Set<string>();
  return [...own, ...known].filter((path) => {
    const real = resolve(path);
    if (real === undefined || seen.has(real)) return false;
    seen.add(real);
    return true;
  });
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

/**
 * Returns whether the user can execute the shell. Tried beforehand, since later a wrong loader, a missing permission or a
 * home that forbids execution looks like any exit code. A shell that has not exited after 2 s has started. Rejects when
 * `run` does.
 */
export async function shellStarts(shell: string, runner: Runner, run: TrialRunner): Promise<boolean> {
  // A bare `exit` would return the code of the last command in the shell's own start-up file.
  const probe = runner.shell(`exec ${quote(shell)} -c 'exit 0' >/dev/null 2>&1`);
  const { code } = await run(["/usr/bin/env", `HOME=${runner.account.home}`, ...probe], seconds(2));
  return code === 0 || code === undefined;
}

/** Starts the shell in the user's home, or in `/`; interactive, not as a login shell. */
export const shellScript = (shell: string): string =>
  `umask 022; cd "$HOME" 2>/dev/null || cd /; unset OLDPWD; exec ${quote(shell)} -i`;

/** Returns the whole environment of the shell; nothing is inherited but `language`, the agent's own LANG. */
export function shellEnvironment(
  sessionId: string,
  account: Account,
  shell: string,
  language: string | undefined,
): Record<string, string> {
  return {
    ...accountVariables(account),
    SHELL: shell,
    // The browser decodes UTF-8, whatever the locale of this machine is.
    LANG: language !== undefined && /^[\w@.-]+\.utf-?8$/i.test(language) ? language : "C.UTF-8",
    TERM: "xterm-256color",
    PAGER: "cat",
    [TERMINAL_MARKER]: sessionId,
  };
}
