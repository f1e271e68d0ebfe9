// Measures CPU usage over the whole interval between two samples: a shorter one would alert at every short peak.
import { type Duration, milliseconds, seconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import { steadyNow } from "../lib/clock.ts";
import type { Limits } from "./cgroup.ts";
import { type Machine, parseCount, percent } from "./machine.ts";

/** Clock ticks since boot. */
export interface CpuTimes {
  readonly busy: number;
  readonly idle: number;
}
/** By name: "cpu0", "cpu1", …; "cpu" alone where the kernel reports only the sum. */
export type CpuCounters = ReadonlyMap<string, CpuTimes>;

/**
 * Reads `/proc/stat`: user nice system idle iowait irq softirq steal guest guest_nice, of which old kernels have fewer.
 * The guests' time is part of user and nice already. Waiting for a disk is idle; time stolen by the hypervisor is not.
 */
export function parseCpuStat(text: string): CpuCounters {
  const counters = new Map<string, CpuTimes>();
  // Only the first lines: the interrupts that follow can be hundreds of kilobytes.
  for (let start = 0; text.startsWith("cpu", start);) {
    const end = text.indexOf("\n", start) + 1 || text.length;
    const [name = "", ...fields] = text.slice(start, end).trim().split(/ +/);
    start = end;
    const times = fields.map(parseCount);
    const [user, nice, system, idle, iowait = 0, irq = 0, softirq = 0, steal = 0] = times;
    if (user === undefined || nice === undefined || system === undefined || idle === undefined) continue;
    counters.set(name, { busy: user + nice + system + irq + softirq + steal, idle: idle + iowait });
  }
  if (counters.size > 1) counters.delete("cpu");
  return counters;
}

/**
 * Percent busy between two readings, over the CPUs that are in both. A CPU whose time ran backwards (taken out and put
 * back, a virtual machine that moved) is left out; idle alone may step back a little, which counts as none. Undefined
 * when no time passed.
 */
export function cpuUsage(before: CpuCounters, after: CpuCounters): number | undefined {
  let busy = 0;
  let total = 0;
  for (const [name, now] of after) {
    const then = before.get(name);
    if (then === undefined) continue;
    const [worked, rested] = [now.busy - then.busy, now.idle - then.idle];
    if (worked < 0 || worked + rested < 0) continue;
    busy += worked;
    total += worked + Math.max(0, rested);
  }
  return percent(busy, total);
}

export interface CpuReading {
  readonly usage: number | undefined;
  /** CPUs that are online; undefined where the kernel does not say. */
  readonly cores: number | undefined;
  /** The limit of a container, where that is less. */
  readonly limit: number | undefined;
}

/** A shorter interval would measure the agent's own start. Only the first sample waits for it. */
const INTERVAL_MIN = milliseconds(800);

/** The first interval begins here. */
export function createCpuMeter(
  machine: Machine,
  limits: () => Promise<Limits>,
  now: () => Duration = steadyNow,
): (signal?: AbortSignal) => Promise<CpuReading> {
  let before = read();
  let last: CpuReading | undefined;

  async function read() {
    const counters = parseCpuStat((await machine.read("/proc/stat")) ?? "");
    const cores = counters.size || undefined;
    const { cpu } = await limits();
    const limited = cpu !== undefined && cpu.cores < (cores ?? Infinity) ? cpu : undefined;
    return { at: now(), counters, cores, limit: limited?.cores, used: await limited?.usedSeconds() };
  }

  return async (signal) => {
    const then = await before;
    const wait = then.at + INTERVAL_MIN - now();
    if (wait > 0 && last !== undefined) return last;
    await sleep(Math.max(0, wait), signal);
    before = read();
    const { at, counters, cores, limit, used } = await before;
    const usage =
      limit === undefined
        ? cpuUsage(then.counters, counters)
        : then.used !== undefined && used !== undefined && used >= then.used
          ? percent(used - then.used, ((at - then.at) / seconds(1)) * limit)
          : undefined;
    return (last = { usage: usage ?? last?.usage, cores, limit });
  };
}
