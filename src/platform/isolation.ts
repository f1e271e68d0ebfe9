// Builds command lines that isolate commands from each other's processes and terminals, and from our own
// limits.
//
// Only a PID namespace separates two commands of one user; systemd has one from version 257 on, util-linux
// and busybox make one on every kernel we support. The supervising shell stays outside, so that it works as
// it does without one; only its children live in the namespace:
//
//   unshare --pid sh supervisor      the first child it forks is the init of the namespace: `reap`
//     ├─ reap                        collects orphans; ends, and with it the namespace, when nobody else is left
//     └─ unshare --mount prelude     a /proc and a /dev/pts of its own, then the command
//
// Mounts of the machine appear in the namespace, since /tmp and everything else is shared; those made in it
// stay in it.
import { readFileSync } from "node:fs";
import { release } from "node:os";
import { messageOf } from "../lib/agent-error.ts";
import { seconds } from "../lib/duration.ts";
import { SYSTEM_PATH } from "./account.ts";
import { type TrialRunner, tryHere } from "./trial.ts";

/**
 * Two functions for a supervising shell. `reap` is for its first child. It sleeps as long as the command
 * runs, so that a command that uses up all processes cannot make it fail; then, or when that `sleep` is
 * ended, as by a process that ends all others of the namespace, it checks whether it is alone, up to every half
 * minute. `release` is for the end of the command: what that has left is a child of the reaper by then,
 * behind the `sleep`; where there is nothing, the namespace ends at once. No trap and no `wait`, which shells
 * get wrong in combination. A kernel may lack the list of children.
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

/** Whether a command sees the processes and terminals of others. */
export type View = "private" | "shared";

export interface Confinement {
  readonly view: View;
  /** The soft limit of open files it gets; undefined: ours. */
  readonly openFiles: number | undefined;
  /** Its standard input is a terminal that it keeps. */
  readonly onTerminal: boolean;
  /** Most processes and threads in a private view, where this kernel can limit them. */
  readonly processesMax?: number;
  /** Lines of a shell script that set further limits. */
  readonly limits?: readonly string[];
}

/** Most processes and threads of one command, so that a fork bomb does not stop the machine from forking. */
export const PROCESSES_MAX = 2_048;
/** The kernel does not reuse pids below this one (include/linux/pid.h). */
const RESERVED_PIDS = 300;

/**
 * Returns whether kernel.pid_max applies to one namespace: since 6.14. Before, it applies to the whole
 * machine.
 */
export function namespaceBoundsProcesses(kernel = release()): boolean {
  const [major = 0, minor = 0] = kernel.split(".").map((part) => Number.parseInt(part, 10));
  return major > 6 || (major === 6 && minor >= 14);
}

/** Returns the command line of the supervising shell; in a private view its children get a PID namespace. */
export const supervised = (view: View, supervisor: readonly string[]): string[] =>
  view === "private" ? ["unshare", "--pid", "--", ...supervisor] : [...supervisor];

/**
 * Returns a command line that applies `confinement` and then becomes `command`. With a score of 0 the
 * out-of-memory killer of the kernel ends a runaway command before the agent.
 */
export function confined(confinement: Confinement, command: readonly string[]): string[] {
  const { view, openFiles, onTerminal, processesMax = PROCESSES_MAX, limits = [] } = confinement;
  const bound = `echo ${processesMax + RESERVED_PIDS} >/proc/sys/kernel/pid_max || exit 126`;
  const prelude = [
    "{ echo 0 >/proc/self/oom_score_adj; } 2>/dev/null",
    ...(openFiles === undefined ? [] : [`ulimit -Sn ${openFiles} 2>/dev/null`]),
    ...(view === "private" && namespaceBoundsProcesses() ? [bound] : []),
    ...(view === "private" ? privateMounts(onTerminal) : []),
    ...limits,
    'exec "$@"',
  ];
  const shell = ["/bin/sh", "-c", prelude.join("\n"), "sh", ...command];
  if (view === "shared") return shell;
  return ["unshare", "--mount", "--propagation", "slave", "--mount-proc", "--", ...shell];
}

/**
 * A /dev/pts without the terminals of others. One's own stays reachable as /dev/console, where ttyname(3)
 * finds it: tmux and screen ask for its name.
 */
function privateMounts(onTerminal: boolean): string[] {
  const pts = ptsOptions(readFileSync("/proc/self/mounts", "utf8"));
  if (pts === undefined) return [];
  const keep =
    '{ ! [ -e /dev/console ] || mount --bind "$(readlink /proc/self/fd/0)" /dev/console; } 2>/dev/null';
  return [...(onTerminal ? [keep] : []), `mount -t devpts -o ${pts} devpts /dev/pts || exit 126`];
}

/** Returns mount options for a second devpts like that of the machine; undefined where it has none. */
export function ptsOptions(mounts: string): string | undefined {
  const [, options] = /^\S+ \/dev\/pts devpts (\S+) /m.exec(mounts) ?? [];
  if (options === undefined) return undefined;
  const kept = options.split(",").filter((option) => /^(gid|mode)=\d+$/.test(option));
  return ["nosuid", "noexec", "newinstance", "ptmxmode=0666", ...kept].join(",");
}

/** Resolves with why private views do not work for what `run` runs, or undefined. Runs a command to find out. */
export async function whyNoPrivateView(run: TrialRunner = tryHere): Promise<string | undefined> {
  if (Bun.which("unshare", { PATH: SYSTEM_PATH }) === null) return "there is no unshare (util-linux)";
  // The first child of this shell is the init of the namespace.
  const script = '( exec "$@" )';
  const inside = confined({ view: "private", openFiles: undefined, onTerminal: false }, [
    "/bin/sh",
    "-c",
    // No process outside may be visible.
    "[ ! -e /proc/$1 ]",
    "sh",
    String(process.pid),
  ]);
  try {
    const { code, output } = await run(
      supervised("private", ["/bin/sh", "-c", script, "sh", ...inside]),
      seconds(10),
    );
    return code === 0 ? undefined : output.trim().split("\n")[0] || `unshare failed with ${code}`;
  } catch (error) {
    return messageOf(error);
  }
}

/**
 * Returns the soft limit of open files for our children; undefined where /proc cannot be read. Bun raises our
 * own to the hard limit before any of our code runs, so it is read from our parent, or else the default of
 * kernel and systemd is used.
 */
export function originalOpenFiles(): number | undefined {
  const own = openFilesOf("self");
  if (own === undefined) return undefined;
  const parent = openFilesOf(String(process.ppid));
  const soft = parent !== undefined && parent.soft < own.hard ? parent.soft : USUAL_OPEN_FILES;
  return Math.min(soft, own.hard);
}

/** Default of kernel and systemd. A higher one breaks programs that use select(2). */
const USUAL_OPEN_FILES = 1_024;

function openFilesOf(pid: string): { soft: number; hard: number } | undefined {
  try {
    return parseOpenFiles(readFileSync(`/proc/${pid}/limits`, "latin1"));
  } catch {
    return undefined;
  }
}

/** Parses /proc/<pid>/limits; undefined without the line. */
export function parseOpenFiles(limits: string): { soft: number; hard: number } | undefined {
  const [, soft, hard] = /^Max open files\s+(\d+|unlimited)\s+(\d+|unlimited)/m.exec(limits) ?? [];
  const number = (text: string): number => (text === "unlimited" ? Infinity : Number(text));
  return soft === undefined || hard === undefined ? undefined : { soft: number(soft), hard: number(hard) };
}
