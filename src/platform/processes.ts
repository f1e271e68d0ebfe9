// Processes of this machine through /proc: who is who, who is alive, and how to end them all.
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { type Duration, milliseconds, seconds } from "../lib/duration.ts";
import { doubled } from "../lib/backoff.ts";
import { sleep } from "../lib/loop.ts";
import { steadyNow } from "../lib/clock.ts";

/** A pid alone is no identity, it is reused: pid and start time (clock ticks since boot) are, within one boot. */
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

/** The fields of /proc/<pid>/stat we use; undefined when the process is gone. */
export function readStat(pid: number): Stat | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return undefined;
  }
}

/** The command name (field 2) may hold spaces and brackets: fields are counted from the last bracket. */
export function parseStat(line: string): Stat | undefined {
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const [state, parent, , session] = fields;
  const startTime = fields[19];
  if (state === undefined || session === undefined || startTime === undefined) return undefined;
  return { state, parent: Number(parent), session: Number(session), startTime };
}

/** The parent's pid; undefined when the process is gone. */
export const parentOf = (pid: number): number | undefined => readStat(pid)?.parent;

/** The processes it has started; those of a process that is gone, or of a kernel that does not tell, are none. */
export function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1");
    return text.split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** Another one after every boot; of a container too, whose kernel goes on but whose first process is another. */
export function bootId(): string {
  const kernel = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  return `${kernel} ${readStat(1)?.startTime ?? ""}`.trim();
}

/** linux/sched.h */
const PF_EXITING = 0x4;

/** Undefined when the process is gone, or over. */
export function hasControllingTerminal(pid: number): boolean | undefined {
  try {
    const line = readFileSync(`/proc/${pid}/stat`, "latin1");
    const [state = "", , , , terminal, , flags] = line.slice(line.lastIndexOf(")") + 2).split(" ");
    // It gives its terminal up before it counts as over.
    const isOver = "ZX".includes(state) || (Number(flags) & PF_EXITING) !== 0;
    return isOver ? undefined : terminal !== "0";
  } catch {
    return undefined;
  }
}

export function identify(pid: number): ProcessId | undefined {
  const stat = readStat(pid);
  return stat && { pid, startTime: stat.startTime };
}

/** False for a zombie too: nothing of it runs any more. */
export function isAlive({ pid, startTime }: ProcessId): boolean {
  const stat = readStat(pid);
  return stat !== undefined && stat.startTime === startTime && stat.state !== "Z" && stat.state !== "X";
}

/** The program's name, for messages: "sleep". */
export function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return "gone";
  }
}

/** Which of `pids` hold `path` (a file or FIFO) open. */
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

/** Who is to be ended, now. */
export type Members = () => readonly number[] | Promise<readonly number[]>;

/**
 * How long to look away after a look at /proc, which holds up the whole agent, the longer the more there is: ten times as
 * long as it took. Bounded, since a machine that stood still makes any look a long one.
 */
export const pauseAfterLook = (cost: Duration): Duration => Math.min(cost * 10, seconds(1));

/**
 * Ends all of `members()` — asked again each time, since they fork: SIGTERM, up to `grace`, then SIGKILL until nobody
 * is left. Resolves with false when somebody could not be ended within 5 s of killing (uninterruptible, or not ours).
 */
export async function terminate(members: Members, grace: Duration): Promise<boolean> {
  return (await gone(members, ["SIGTERM"], grace)) || (await gone(members, ["SIGKILL"], seconds(5)));
}

/**
 * The same for what was started on a terminal: first the hang-up, which is how an interactive shell learns of its end
 * and what `nohup` ignores; SIGCONT, because a stopped job hears nothing. SIGTERM after half of `grace`.
 */
export async function hangUp(members: Members, grace: Duration): Promise<boolean> {
  return (
    (await gone(members, ["SIGHUP", "SIGCONT"], grace / 2)) ||
    (await gone(members, ["SIGTERM", "SIGCONT"], grace / 2)) ||
    (await gone(members, ["SIGKILL"], seconds(5)))
  );
}

/** Pauses between two readings of the process table: 5 ms doubling to 100 ms. */
const POLL = { base: milliseconds(5), cap: milliseconds(100) };

/** Sends the signals to each, once — a second TERM would cut a clean-up short — and waits; SIGKILL again and again. */
async function gone(members: Members, signals: readonly NodeJS.Signals[], limit: Duration): Promise<boolean> {
  const end = steadyNow() + limit;
  const told = new Set<number>();
  for (let readings = 1; ; readings++) {
    const begun = steadyNow();
    const looking = members();
    const cost = steadyNow() - begun;
    const living = await looking;
    if (living.length === 0) return true;
    for (const pid of living) {
      if (told.has(pid) && !signals.includes("SIGKILL")) continue;
      told.add(pid);
      for (const signal of signals) send(pid, signal);
    }
    const left = end - steadyNow();
    if (left <= 0) return false;
    await sleep(Math.min(left, Math.max(doubled(POLL, readings), pauseAfterLook(cost))));
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone in the meantime, or not ours: the caller sees it in `members()`.
  }
}
