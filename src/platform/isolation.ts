// Keeps the commands we run for others out of each other's processes and terminals, and off our own limits.
//
// Users and systemd's ProtectProc= do not part two commands of the same user: only a PID namespace does, and systemd has
// one from version 257 on. util-linux (and busybox) make one on every kernel we run on. The supervising shell stays
// outside, so that everything about it is as it is without; only what it forks lives in the namespace:
//
//   unshare --pid sh supervisor      the first child it forks is the init of the namespace: `reap`
//     ├─ reap                        collects orphans; ends, and with it the namespace, when nobody else is left
//     └─ unshare --mount prelude     a /proc and a /dev/pts of its own, then the command
//
// Mounts of the machine still appear in there, as /tmp and everything else is shared; those made in there stay there.
import { readFileSync } from "node:fs";
import { release } from "node:os";
import { seconds } from "../lib/duration.ts";
import { SYSTEM_PATH } from "./account.ts";

/**
 * Two functions for a supervising shell. `reap` is for its first child. It sleeps as long as the command runs, so that a
 * command that uses up all processes cannot make it fail; then, or when that `sleep` is ended, as by whoever ends everybody
 * in the namespace, it looks whether it is alone, up to every half minute. `release` is for the end of the command: what
 * that has left is a child of the reaper by then, behind the `sleep`; where there is nothing, the namespace ends at once.
 * No trap and no `wait`, which shells get wrong in combination. A kernel may lack the list of children.
 */
export const REAP = `reap() {
  if [ -e /proc/1/task/1/children ]; then sleep 2147483647; else sleep 1; fi
  nap=1
  while kill -s 0 -- -1; do
    sleep "$nap" && nap=$((nap < 32 ? nap * 2 : nap)) || nap=1
  done
}
release() {
  asleep= left=unknown
  read -r asleep left <"/proc/$reaper/task/$reaper/children"
  if [ -z "$left" ]; then kill -s KILL "$reaper"; elif [ -n "$asleep" ]; then kill "$asleep"; fi
} 2>/dev/null`;

/** What a command sees of the others' processes and terminals. */
export type View = "private" | "shared";

export interface Confinement {
  readonly view: View;
  /** The soft limit of open files it gets; undefined: ours. */
  readonly openFiles: number | undefined;
  /** Its standard input is a terminal that it is to keep. */
  readonly onTerminal: boolean;
  /** Processes and threads in a private view, where this kernel bounds them. */
  readonly processesMax?: number;
}

/** Processes and threads of one command with all it starts: a fork bomb leaves the rest of the machine able to fork. */
export const PROCESSES_MAX = 2_048;
/** The kernel does not give numbers below it again: of include/linux/pid.h. */
const RESERVED_PIDS = 300;

/** From "6.14.0-37-generic": since 6.14, kernel.pid_max is the namespace's own. Before, it is the whole machine's. */
export function namespaceBoundsProcesses(kernel = release()): boolean {
  const [major = 0, minor = 0] = kernel.split(".").map((part) => Number.parseInt(part, 10));
  return major > 6 || (major === 6 && minor >= 14);
}

/** The supervising shell, so that its children get a PID namespace where the view is private. */
export const supervised = (view: View, supervisor: readonly string[]): string[] =>
  view === "private" ? ["unshare", "--pid", "--", ...supervisor] : [...supervisor];

/**
 * A command line that confines itself and then becomes `command`. A score of 0 makes the kernel's out-of-memory killer
 * take a runaway command before the agent.
 */
export function confined(confinement: Confinement, command: readonly string[]): string[] {
  const { view, openFiles, onTerminal, processesMax = PROCESSES_MAX } = confinement;
  const bound = `echo ${processesMax + RESERVED_PIDS} >/proc/sys/kernel/pid_max || exit 126`;
  const prelude = [
    "{ echo 0 >/proc/self/oom_score_adj; } 2>/dev/null",
    ...(openFiles === undefined ? [] : [`ulimit -Sn ${openFiles} 2>/dev/null`]),
    ...(view === "private" && namespaceBoundsProcesses() ? [bound] : []),
    ...(view === "private" ? privateMounts(onTerminal) : []),
    'exec "$@"',
  ];
  const shell = ["/bin/sh", "-c", prelude.join("\n"), "sh", ...command];
  if (view === "shared") return shell;
  return ["unshare", "--mount", "--propagation", "slave", "--mount-proc", "--", ...shell];
}

/**
 * A /dev/pts without the terminals of others. One's own stays reachable as /dev/console, where ttyname(3) finds it: tmux
 * and screen ask for its name.
 */
function privateMounts(onTerminal: boolean): string[] {
  const pts = ptsOptions(readFileSync("/proc/self/mounts", "utf8"));
  if (pts === undefined) return [];
  const keep =
    '{ ! [ -e /dev/console ] || mount --bind "$(readlink /proc/self/fd/0)" /dev/console; } 2>/dev/null';
  return [...(onTerminal ? [keep] : []), `mount -t devpts -o ${pts} devpts /dev/pts || exit 126`];
}

/** For a second instance like the machine's own; undefined where there is none. */
export function ptsOptions(mounts: string): string | undefined {
  const [, options] = /^\S+ \/dev\/pts devpts (\S+) /m.exec(mounts) ?? [];
  if (options === undefined) return undefined;
  const kept = options.split(",").filter((option) => /^(gid|mode)=\d+$/.test(option));
  return ["nosuid", "noexec", "newinstance", "ptmxmode=0666", ...kept].join(",");
}

/** Why commands cannot get a private view here; undefined when they can. Tried out, not guessed. */
export async function whyNoPrivateView(): Promise<string | undefined> {
  if (Bun.which("unshare", { PATH: SYSTEM_PATH }) === null) return "there is no unshare (util-linux)";
  // The first child of this shell is the init of the namespace.
  const script = '( exec "$@" )';
  const inside = confined({ view: "private", openFiles: undefined, onTerminal: false }, [
    "/bin/sh",
    "-c",
    // Of the processes outside, none is to be seen.
    "[ ! -e /proc/$1 ]",
    "sh",
    String(process.pid),
  ]);
  const [program, ...words] = supervised("private", ["/bin/sh", "-c", script, "sh", ...inside]);
  try {
    const child = Bun.spawn([program ?? "", ...words], {
      env: { PATH: SYSTEM_PATH },
      stdio: ["ignore", "ignore", "pipe"],
      timeout: seconds(10),
    });
    const [complaint, code] = await Promise.all([child.stderr.text(), child.exited]);
    return code === 0 ? undefined : complaint.trim().split("\n")[0] || `unshare failed with ${code}`;
  } catch (error) {
    return String(error);
  }
}

/**
 * The soft limit of open files for our children. The runtime raises ours to the hard one before any code of ours runs, so
 * the limit we were started with is taken from the process that started us; where that one has none either, it is
 * what kernel and systemd give every program.
 */
export function originalOpenFiles(): number | undefined {
  const own = openFilesOf("self");
  if (own === undefined) return undefined;
  const parent = openFilesOf(String(process.ppid));
  const soft = parent !== undefined && parent.soft < own.hard ? parent.soft : USUAL_OPEN_FILES;
  return Math.min(soft, own.hard);
}

/** More breaks programs that use select(2). */
const USUAL_OPEN_FILES = 1_024;

function openFilesOf(pid: string): { soft: number; hard: number } | undefined {
  try {
    return parseOpenFiles(readFileSync(`/proc/${pid}/limits`, "latin1"));
  } catch {
    return undefined;
  }
}

/** From the text of /proc/<pid>/limits. */
export function parseOpenFiles(limits: string): { soft: number; hard: number } | undefined {
  const [, soft, hard] = /^Max open files\s+(\d+|unlimited)\s+(\d+|unlimited)/m.exec(limits) ?? [];
  const number = (text: string): number => (text === "unlimited" ? Infinity : Number(text));
  return soft === undefined || hard === undefined ? undefined : { soft: number(soft), hard: number(hard) };
}
