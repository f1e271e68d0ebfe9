// Users of this machine, and how a root process hands work to one of them.
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
 * The user this process runs as. Bun's own `userInfo` reads the environment, which may be empty or wrong; of it only HOME
 * counts, and only for an ordinary user: it names another home than the system does where it is a directory of theirs.
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

/** Root's is never taken from the environment: sudo may leave HOME to another user's, whose start-up files root would run. */
export function chosenHome(home: string | undefined, uid: number): string | undefined {
  if (uid === 0 || home === undefined || !isAbsolute(home)) return undefined;
  try {
    const stat = statSync(home);
    return stat.isDirectory() && stat.uid === uid ? home : undefined;
  } catch {
    return undefined;
  }
}

/** Undefined for a user id that nobody has. */
const accountOf = (uid: number): Account | undefined =>
  parsePasswd(passwdLine((fields) => fields[2] === String(uid)) ?? askNameServices("passwd", String(uid)));

/** Whether the user is in the group, by the user's own entry or by the group's. */
export function isInGroup(uid: number, gid: number): boolean {
  const account = accountOf(uid);
  if (account === undefined) return false;
  if (account.gid === gid) return true;
  const isGroup = (line: string): boolean => line.split(":")[2] === String(gid);
  const lines = readFileSync("/etc/group", "utf8").split("\n").filter(isGroup);
  if (lines.length === 0) lines.push(askNameServices("group", String(gid)));
  return lines.some((line) => line.trim().split(":")[3]?.split(",").includes(account.name));
}

/** For messages: the user's name, or the number where nobody has it. */
export const userName = (uid: number): string =>
  parsePasswd(passwdLine((fields) => fields[2] === String(uid)) ?? "")?.name ?? `user ${uid}`;

/** Looks in /etc/passwd, then asks the system's name services (LDAP and the like). */
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

/** Where programs of the system are looked for, whatever PATH we were started with. */
export const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Turns a `/bin/sh` script into the command line that runs it as `account`. */
export interface Runner {
  readonly account: Account;
  /** Open file descriptors are passed on, and so is the environment. */
  readonly shell: (script: string) => string[];
  /** Whether set-uid programs work in the script. Without setpriv they do. */
  readonly mayGain: boolean;
}

/**
 * How a script is run as `account`, with that user's groups, from this process. Looks for the means once; throws an
 * AgentError when a root process finds none. `mayGain`: set-uid programs like sudo may give the script more rights than
 * the account has; root keeps them all either way.
 */
export function runnerFor(account: Account, mayGain = true): Runner {
  const shell = (script: string): string[] => ["/bin/sh", "-c", script];
  const isSwitching = isRoot() && account.uid !== 0;
  if (!isSwitching && (mayGain || account.uid === 0)) return { account, shell, mayGain };
  const { uid, gid, name } = account;
  // busybox has programs of the same names that know none of these flags; its `su` is enough.
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
