// Who lives on this machine, in one look at /proc, and who of them belong together.
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { sleep } from "../lib/loop.ts";
import { type ProcessId, type Stat, isAlive, pauseAfterLook, readStat } from "./processes.ts";
import { steadyNow } from "../lib/clock.ts";

export interface Inhabitant extends ProcessId, Stat {
  /** What stands in its environment under the name the census was taken for: "NAME=value". */
  readonly cookies: readonly string[];
}

/** Of one moment, by pid. Zombies are left out. */
export type Census = ReadonlyMap<number, Inhabitant>;

/** Reads two files of every process, and holds up the agent for as long: about 4 ms for 100 processes. */
export function takeCensus(cookieName: string): Census {
  const all = new Map<number, Inhabitant>();
  for (const name of readdirSync("/proc")) {
    const pid = /^\d+$/.test(name) ? Number(name) : undefined;
    const stat = pid === undefined ? undefined : readStat(pid);
    if (pid !== undefined && stat !== undefined && !"ZX".includes(stat.state))
      all.set(pid, { pid, ...stat, cookies: cookiesOf(pid, cookieName) });
  }
  return all;
}

/**
 * One census for all who ask at the same time, taken after each of them asked; the next not before ten times as long as
 * it took. However many wait for an end, they cost a tenth of one processor at the most.
 */
export function sharedCensus(cookieName: string, take = takeCensus): () => Promise<Census> {
  let coming: Promise<Census> | undefined;
  let notBefore = -Infinity;
  async function next(): Promise<Census> {
    // At least a turn, so that those whose timers end together share it.
    await sleep(Math.max(0, notBefore - steadyNow()));
    coming = undefined;
    const begun = steadyNow();
    try {
      return take(cookieName);
    } finally {
      const done = steadyNow();
      notBefore = done + pauseAfterLook(done - begun);
    }
  }
  return () => (coming ??= next());
}

/** By what the processes of one command are known. */
export interface Family {
  /** The leader of their session, once it is known. */
  readonly leader: ProcessId | undefined;
  /** "NAME=value" in the environment they were started with. */
  readonly cookie: string;
  /** The systemd unit they run in, if any: only root leaves it. */
  readonly unit: string | undefined;
  /** The init of the PID namespace they live in, if they have one of their own. Nobody leaves it. */
  readonly init?: ProcessId | undefined;
}

/** Everything that shows one of the marks of the family. */
export function familyOf(
  { leader, cookie, unit, init }: Family,
  census = takeCensus(nameOf(cookie)),
): number[] {
  // While a session has members its number is not given away; with a stranger as its leader, it is another session.
  const now = leader && readStat(leader.pid);
  const session = now === undefined || now.startTime === leader?.startTime ? leader?.pid : undefined;
  const namespace = init && foreignNamespaceOf(init);
  return [...census.values()]
    .filter(
      (one) =>
        one.session === session ||
        (unit !== undefined && isInUnit(one.pid, unit)) ||
        (namespace !== undefined && namespaceOf(one.pid) === namespace) ||
        one.cookies.includes(cookie),
    )
    .map(({ pid }) => pid);
}

/** The PID namespace of that process, as long as it lives; never our own, in which everybody lives. */
function foreignNamespaceOf(init: ProcessId): string | undefined {
  const namespace = namespaceOf(init.pid);
  return isAlive(init) && namespace !== namespaceOf("self") ? namespace : undefined;
}

function namespaceOf(pid: number | "self"): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return undefined; // Gone, or another user's.
  }
}

/** `pids` and all that descend from them, as far as their parents still live. */
export function withDescendants(pids: readonly number[], census: Census): number[] {
  const children = Map.groupBy(census.values(), ({ parent }) => parent);
  const all = new Set(pids);
  // A set that grows while it is walked is walked to its new end.
  for (const pid of all) for (const child of children.get(pid) ?? []) all.add(child.pid);
  return [...all];
}

/** Asked of the process, not of the control group: where that lies depends on the hierarchy and on containers. */
function isInUnit(pid: number, unit: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, "utf8").split(/[/\n]/).includes(unit);
  } catch {
    return false; // Gone.
  }
}

const nameOf = (cookie: string): string => cookie.slice(0, cookie.indexOf("="));

/** Copied out: an environment may be megabytes, and a part of a string keeps the whole of it. */
function cookiesOf(pid: number, name: string): string[] {
  const found: string[] = [];
  try {
    const environment = readFileSync(`/proc/${pid}/environ`);
    for (let at = -1; (at = environment.indexOf(`${name}=`, at + 1)) >= 0 && found.length < COOKIES_MAX;) {
      if (at > 0 && environment[at - 1] !== 0) continue;
      const end = environment.indexOf(0, at);
      found.push(environment.toString("latin1", at, Math.min(end < 0 ? Infinity : end, at + COOKIE_MAX)));
    }
  } catch {
    // Another user's process, or gone.
  }
  return found;
}

/** A variable may stand there several times. */
const COOKIES_MAX = 8;
const COOKIE_MAX = 256;
