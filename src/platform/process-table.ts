// Reads the process table from /proc, and finds the processes that belong to one command.
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { sleep } from "../lib/loop.ts";
import { type ProcessId, type Stat, isAlive, pauseAfterReading, readStat } from "./processes.ts";
import { steadyNow } from "../lib/clock.ts";

export interface ProcessInfo extends ProcessId, Stat {
  /** "NAME=value" of the variable the table was read for, as often as the environment has it. */
  readonly markers: readonly string[];
}

/** The processes of one moment by pid, without zombies. */
export type ProcessTable = ReadonlyMap<number, ProcessInfo>;

/** Reads two files of every process. Blocks the agent meanwhile: about 4 ms for 100 processes. */
export function readProcessTable(variable: string): ProcessTable {
  const all = new Map<number, ProcessInfo>();
  for (const name of readdirSync("/proc")) {
    const pid = /^\d+$/.test(name) ? Number(name) : undefined;
    const stat = pid === undefined ? undefined : readStat(pid);
    if (pid !== undefined && stat !== undefined && !"ZX".includes(stat.state))
      all.set(pid, { pid, ...stat, markers: markersOf(pid, variable) });
  }
  return all;
}

/**
 * Returns a reader that shares one table among all who ask at the same time; it is read after each of them
 * asked. Pauses ten times as long as a reading took, so that any number of waiting callers use at most 10 %
 * of one core.
 */
export function sharedProcessTable(variable: string, take = readProcessTable): () => Promise<ProcessTable> {
  let coming: Promise<ProcessTable> | undefined;
  let notBefore = -Infinity;
  async function next(): Promise<ProcessTable> {
    // At least one turn of the event loop, so that callers whose timers end together share a table.
    await sleep(Math.max(0, notBefore - steadyNow()));
    coming = undefined;
    const begun = steadyNow();
    try {
      return take(variable);
    } finally {
      const done = steadyNow();
      notBefore = done + pauseAfterReading(done - begun);
    }
  }
  return () => (coming ??= next());
}

/** The marks by which the processes of one command are recognised. */
export interface CommandMarks {
  /** The leader of their session; undefined while it is not known. */
  readonly leader: ProcessId | undefined;
  /** "NAME=value" in their environment. */
  readonly marker: string;
  /** The systemd unit they run in, if any. Only root can leave it. */
  readonly unit: string | undefined;
  /** The init of their own PID namespace, if they have one. No process can leave it. */
  readonly init?: ProcessId | undefined;
}

/** Returns the pids of all processes with at least one of the marks. */
export function processesOf(
  { leader, marker, unit, init }: CommandMarks,
  table = readProcessTable(nameOf(marker)),
): number[] {
  // A session keeps its number while it has members. If the leader has another start time, it is another
  // session.
  const now = leader && readStat(leader.pid);
  const session = now === undefined || now.startTime === leader?.startTime ? leader?.pid : undefined;
  const namespace = init && foreignNamespaceOf(init);
  return [...table.values()]
    .filter(
      (one) =>
        one.session === session ||
        (unit !== undefined && isInUnit(one.pid, unit)) ||
        (namespace !== undefined && namespaceOf(one.pid) === namespace) ||
        one.markers.includes(marker),
    )
    .map(({ pid }) => pid);
}

/**
 * Returns the PID namespace of a live process; undefined for our own, which every process of the machine is
 * in.
 */
function foreignNamespaceOf(init: ProcessId): string | undefined {
  const namespace = namespaceOf(init.pid);
  return isAlive(init) && namespace !== namespaceOf("self") ? namespace : undefined;
}

function namespaceOf(pid: number | "self"): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return undefined; // It has ended, or belongs to another user.
  }
}

/** Returns `pids` and their descendants, as far as the processes between them are alive. */
export function withDescendants(pids: readonly number[], table: ProcessTable): number[] {
  const children = Map.groupBy(table.values(), ({ parent }) => parent);
  const all = new Set(pids);
  // A Set that grows during the iteration is iterated to its new end.
  for (const pid of all) for (const child of children.get(pid) ?? []) all.add(child.pid);
  return [...all];
}

/** Reads the process, not the control group, whose path depends on the hierarchy and on containers. */
function isInUnit(pid: number, unit: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, "utf8").split(/[/\n]/).includes(unit);
  } catch {
    return false; // It has ended.
  }
}

const nameOf = (marker: string): string => marker.slice(0, marker.indexOf("="));

/** Copies the values: an environment may have megabytes, and a substring would keep all of it in memory. */
function markersOf(pid: number, name: string): string[] {
  const found: string[] = [];
  try {
    const environment = readFileSync(`/proc/${pid}/environ`);
    for (let at = -1; (at = environment.indexOf(`${name}=`, at + 1)) >= 0 && found.length < MARKERS_MAX;) {
      if (at > 0 && environment[at - 1] !== 0) continue;
      const end = environment.indexOf(0, at);
      found.push(environment.toString("latin1", at, Math.min(end < 0 ? Infinity : end, at + MARKER_MAX)));
    }
  } catch {
    // It belongs to another user, or has ended.
  }
  return found;
}

/** An environment may hold a variable several times. */
const MARKERS_MAX = 8;
/** Bytes. */
const MARKER_MAX = 256;
