// Identifies processes through /proc, and ends them.
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { type Duration, milliseconds, seconds } from "../lib/duration.ts";
import { doubled } from "../lib/backoff.ts";
import { sleep } from "../lib/loop.ts";
import { steadyNow } from "../lib/clock.ts";

/** Pids are reused; pid and start time (clock ticks since the boot) together are unique within one boot. */
export interface ProcessId {
  readonly pid: number;
  readonly startTime: string;
}

export interface Stat {
  readonly state: string;
  readonly parent: number;
  readonly session: number;
  readonly startTime: string;
}

/** Reads the fields of /proc/<pid>/stat that we use; undefined when there is no such process. */
export function readStat(pid: number): Stat | undefined {
  try {
    return parseProcessStat(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return undefined;
  }
}

/**
 * Parses a line of /proc/<pid>/stat. The command (field 2) may contain brackets: counts the fields from the
 * last one.
 */
export function parseProcessStat(line: string): Stat | undefined {
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const [state, parent, , session] = fields;
  const startTime = fields[19];
  if (state === undefined || session === undefined || startTime === undefined) return undefined;
  return { state, parent: Number(parent), session: Number(session), startTime };
}

/** Returns the parent's pid; undefined when there is no such process. */
export const parentOf = (pid: number): number | undefined => readStat(pid)?.parent;

/** Returns the children of a process; none if it has ended or the kernel has no list of them. */
export function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1");
    return text.split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/**
 * Identifies this boot. Includes the start time of process 1, since a restarted container keeps the id of its
 * kernel.
 */
export function bootId(): string {
  const kernel = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  return `${kernel} ${readStat(1)?.startTime ?? ""}`.trim();
}

/** include/linux/sched.h */
const PF_EXITING = 0x4;

/** Undefined when the process has ended or is ending. */
export function hasControllingTerminal(pid: number): boolean | undefined {
  try {
    const line = readFileSync(`/proc/${pid}/stat`, "latin1");
    const [state = "", , , , terminal, , flags] = line.slice(line.lastIndexOf(")") + 2).split(" ");
    // A process gives up its terminal before it becomes a zombie.
    const isOver = "ZX".includes(state) || (Number(flags) & PF_EXITING) !== 0;
    return isOver ? undefined : terminal !== "0";
  } catch {
    return undefined;
  }
}

/** Undefined when there is no such process. */
export function identify(pid: number): ProcessId | undefined {
  const stat = readStat(pid);
  return stat && { pid, startTime: stat.startTime };
}

/** Returns false for a zombie too. */
export function isAlive({ pid, startTime }: ProcessId): boolean {
  const stat = readStat(pid);
  return stat !== undefined && stat.startTime === startTime && stat.state !== "Z" && stat.state !== "X";
}

/** Returns the name of the program for messages: "sleep"; "gone" when there is no such process. */
export function processName(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return "gone";
  }
}

/** Returns those of `pids` that have `path` (a file or FIFO) open. */
export function holdersOf(path: string, pids: readonly number[]): number[] {
  return pids.filter((pid) => {
    try {
      return readdirSync(`/proc/${pid}/fd`).some((fd) => linkTarget(`/proc/${pid}/fd/${fd}`) === path);
    } catch {
      return false;
    }
  });
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** Returns the pids of all processes to end that are alive now. */
export type Members = () => readonly number[] | Promise<readonly number[]>;

/**
 * Returns the pause after a reading of /proc, which blocks the agent: ten times as long as it took (at most 1
 * s), so that readings use at most 10 % of one core.
 */
export const pauseAfterReading = (cost: Duration): Duration => Math.min(cost * 10, seconds(1));

/**
 * Ends all of `members()`, which is called again each time since they fork: SIGTERM, after `grace` SIGKILL
 * until none is left. Resolves with false when one is still alive after 5 s of SIGKILL (uninterruptible, or
 * not ours).
 */
export async function terminate(members: Members, grace: Duration): Promise<boolean> {
  return (
    (await signalUntilGone(members, ["SIGTERM"], grace)) ||
    (await signalUntilGone(members, ["SIGKILL"], seconds(5)))
  );
}

/**
 * Ends what was started on a terminal: SIGHUP, which interactive shells obey and `nohup` ignores, SIGTERM
 * after half of `grace`, then SIGKILL. Each with SIGCONT, since a stopped job does not handle signals.
 * Resolves as `terminate` does.
 */
export async function hangUp(members: Members, grace: Duration): Promise<boolean> {
  return (
    (await signalUntilGone(members, ["SIGHUP", "SIGCONT"], grace / 2)) ||
    (await signalUntilGone(members, ["SIGTERM", "SIGCONT"], grace / 2)) ||
    (await signalUntilGone(members, ["SIGKILL"], seconds(5)))
  );
}

/** Pauses between two readings of the process table: 5 ms doubling to 100 ms. */
const POLL = { base: milliseconds(5), cap: milliseconds(100) };

/**
 * Signals each member once and waits until none is left: a second SIGTERM would interrupt a clean-up. Repeats
 * SIGKILL.
 */
async function signalUntilGone(
  members: Members,
  signals: readonly NodeJS.Signals[],
  limit: Duration,
): Promise<boolean> {
  const end = steadyNow() + limit;
  const signalled = new Set<number>();
  for (let readings = 1; ; readings++) {
    const begun = steadyNow();
    const reading = members();
    const cost = steadyNow() - begun;
    const alive = await reading;
    if (alive.length === 0) return true;
    for (const pid of alive) {
      if (signalled.has(pid) && !signals.includes("SIGKILL")) continue;
      signalled.add(pid);
      for (const signal of signals) signalProcess(pid, signal);
    }
    const left = end - steadyNow();
    if (left <= 0) return false;
    await sleep(Math.min(left, Math.max(doubled(POLL, readings), pauseAfterReading(cost))));
  }
}

/** Signals a process that may have ended meanwhile. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended, or is not ours: the caller sees which in `members()`.
  }
}
