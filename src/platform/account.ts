// Looks up users of this machine, and runs scripts as one of them.
import { readFileSync, statSync } from "node:fs";
import { isAbsolute } from "node:path";
import { AgentError } from "../lib/agent-error.ts";

export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
}

export const isRoot = (): boolean => process.getuid?.() === 0;

/**
 * Returns the user this process runs as. `userInfo` of Bun reads the environment, which may be empty or
 * wrong; of it we use only HOME, and only for an ordinary user who owns that directory.
 */
export function currentAccount(): Account {
  const uid = process.getuid?.() ?? 0;
  const account = accountOf(uid) ?? {
    name: String(uid),
    uid,
    gid: process.getgid?.() ?? uid,
    home: "/",
    shell: "/bin/sh",
  };
  return { ...account, home: chosenHome(process.env["HOME"], uid) ?? account.home };
}

/**
 * Returns HOME where it may be used, else undefined. Never for root: sudo may keep the HOME of another user,
 * whose start-up files root would run.
 */
export function chosenHome(home: string | undefined, uid: number): string | undefined {
  if (uid === 0 || home === undefined || !isAbsolute(home)) return undefined;
  try {
    const stat = statSync(home);
    return stat.isDirectory() && stat.uid === uid ? home : undefined;
  } catch {
    return undefined;
  }
}

/** Undefined for an unknown user id. */
const accountOf = (uid: number): Account | undefined =>
  parsePasswd(passwdLine((fields) => fields[2] === String(uid)) ?? askNameServices("passwd", String(uid)));

/** Returns whether the user is in the group, by the entry of the user or of the group. */
export function isInGroup(uid: number, gid: number): boolean {
  const account = accountOf(uid);
  if (account === undefined) return false;
  if (account.gid === gid) return true;
  const isGroup = (line: string): boolean => line.split(":")[2] === String(gid);
  const lines = readFileSync("/etc/group", "utf8").split("\n").filter(isGroup);
  if (lines.length === 0) lines.push(askNameServices("group", String(gid)));
  return lines.some((line) => line.trim().split(":")[3]?.split(",").includes(account.name));
}

/** Returns the name of a user for messages; "user 1234" for an unknown id. */
export const userName = (uid: number): string =>
  parsePasswd(passwdLine((fields) => fields[2] === String(uid)) ?? "")?.name ?? `user ${uid}`;

/**
 * Looks in /etc/passwd, then asks the name services of the system (LDAP and the like). Undefined for an
 * unknown name.
 */
export function findAccount(name: string): Account | undefined {
  if (!/^[A-Za-z0-9_.@-]+\$?$/.test(name)) return undefined;
  return parsePasswd(passwdLine((fields) => fields[0] === name) ?? askNameServices("passwd", name));
}

function passwdLine(matches: (fields: string[]) => boolean): string | undefined {
  return readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((line) => matches(line.split(":")));
}

function parsePasswd(line: string): Account | undefined {
  const [name, , uid, gid, , home, shell] = line.trim().split(":");
  if (name === undefined || uid === undefined || gid === undefined || home === undefined) return undefined;
  return { name, uid: Number(uid), gid: Number(gid), home: home || "/", shell: shell || "/bin/sh" };
}

function askNameServices(database: "passwd" | "group", name: string): string {
  const getent = Bun.which("getent", { PATH: SYSTEM_PATH });
  if (getent === null) return "";
  return Bun.spawnSync([getent, database, name], {
    env: {},
    stdin: "ignore",
    stderr: "ignore",
  }).stdout.toString();
}

/** Where we look for programs of the system, independent of the PATH we were started with. */
export const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Returns the variables that every program of an account has: PATH, HOME, USER and LOGNAME. */
export const accountVariables = ({ home, name }: Account): Record<string, string> => ({
  PATH: SYSTEM_PATH,
  HOME: home,
  USER: name,
  LOGNAME: name,
});

/** Turns a `/bin/sh` script into the command line that runs it as `account`. */
export interface Runner {
  readonly account: Account;
  /** Passes on open file descriptors and the environment. */
  readonly shell: (script: string) => string[];
  /** Whether set-uid programs work in the script; without setpriv they always do. */
  readonly mayGain: boolean;
}

/**
 * Returns a runner for `account` with the groups of that user. Throws "account.no_means" when a root process
 * finds none of setpriv, chroot and su. `mayGain`: set-uid programs such as sudo may give the script more
 * rights than the account has; root keeps all of them in any case.
 */
export function runnerFor(account: Account, mayGain = true): Runner {
  const shell = (script: string): string[] => ["/bin/sh", "-c", script];
  const isSwitching = isRoot() && account.uid !== 0;
  if (!isSwitching && (mayGain || account.uid === 0)) return { account, shell, mayGain };
  const { uid, gid, name } = account;
  // The programs of busybox do not know these flags; its `su` is enough.
  const setpriv = fullProgram("setpriv");
  if (setpriv !== undefined) {
    const flags = [
      ...(isSwitching ? [`--reuid=${uid}`, `--regid=${gid}`, "--init-groups", "--inh-caps=-all"] : []),
      ...(mayGain ? [] : ["--no-new-privs", ...(isRoot() ? ["--bounding-set=-all"] : [])]),
    ];
    return { account, shell: (script) => [setpriv, ...flags, "--", ...shell(script)], mayGain };
  }
  if (!isSwitching) return { account, shell, mayGain: true };
  const chroot = fullProgram("chroot");
  if (chroot !== undefined) {
    const words = [chroot, `--userspec=${uid}:${gid}`, "/"];
    return { account, shell: (script) => [...words, ...shell(script)], mayGain: true };
  }
  const su = Bun.which("su", { PATH: SYSTEM_PATH });
  if (su !== null) {
    return { account, shell: (script) => [su, "-s", "/bin/sh", name, "-c", script], mayGain: true };
  }
  throw new AgentError(
    "account.no_means",
    `this machine has none of setpriv, chroot, su to run a task as ${name}`,
    {
      hint: "Install util-linux.",
    },
  );
}

function fullProgram(name: string): string | undefined {
  const path = Bun.which(name, { PATH: SYSTEM_PATH });
  if (path === null) return undefined;
  const help = Bun.spawnSync([path, "--help"], { env: {}, stdin: "ignore" });
  return `${help.stdout.toString()}${help.stderr.toString()}`.includes("BusyBox") ? undefined : path;
}
