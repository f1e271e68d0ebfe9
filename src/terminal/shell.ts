// Which shell a terminal gets, and what it is started with.
import { realpathSync } from "node:fs";
import { basename } from "node:path";
import { quote } from "../lib/text.ts";
import { seconds } from "../lib/duration.ts";
import { type Account, type Runner, SYSTEM_PATH } from "../platform/account.ts";

/** In the environment of everything started in a terminal: how processes that left its session are found again. */
export const COOKIE = "NODERAX_TERMINAL";
export const cookieOf = (sessionId: string): string => `${COOKIE}=${sessionId}`;

const SHELLS = ["bash", "zsh", "sh"] as const;
/** Login shells that say that nobody logs in. */
const NO_SHELL = new Set(["nologin", "false", "true", "sync", "halt", "shutdown"]);

/**
 * The shells to try, in order, each file once: the account's own, then bash, zsh and sh wherever they lie. Root's own is
 * left out: a root terminal is one of the three.
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
 * Whether the shell can be executed by that user: a wrong loader, a missing right and a home that refuses it look like
 * any other exit code once it runs. One that takes its time has started.
 */
export async function shellStarts(shell: string, runner: Runner): Promise<boolean> {
  try {
    // A bare `exit` would end with the code of whatever came last in the shell's own start-up file.
    const probe = Bun.spawn(runner.shell(`exec ${quote(shell)} -c 'exit 0'`), {
      cwd: "/",
      env: { PATH: SYSTEM_PATH, HOME: runner.account.home },
      stdio: ["ignore", "ignore", "ignore"],
      timeout: seconds(2),
      killSignal: "SIGKILL",
    });
    return (await probe.exited) === 0 || probe.signalCode === "SIGKILL";
  } catch {
    return false;
  }
}

/** In the user's home, or in `/`; interactive, not a login. */
export const shellScript = (shell: string): string =>
  `umask 022; cd "$HOME" 2>/dev/null || cd /; unset OLDPWD; exec ${quote(shell)} -i`;

/** All a terminal's shell sees: nothing of the agent's. `language` is the agent's own LANG. */
export function shellEnvironment(
  sessionId: string,
  account: Account,
  shell: string,
  language: string | undefined,
): Record<string, string> {
  return {
    PATH: SYSTEM_PATH,
    HOME: account.home,
    USER: account.name,
    LOGNAME: account.name,
    SHELL: shell,
    // The browser's side is UTF-8 whatever this machine prefers.
    LANG: language !== undefined && /^[\w@.-]+\.utf-?8$/i.test(language) ? language : "C.UTF-8",
    TERM: "xterm-256color",
    PAGER: "cat",
    [COOKIE]: sessionId,
  };
}
