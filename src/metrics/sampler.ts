// Takes one sample of this machine, in the form of the wire. Values that cannot be measured are left out or keep their last.
import { freemem, totalmem } from "node:os";
import type { Duration } from "../lib/duration.ts";
import { steadyNow } from "../lib/clock.ts";
import type { MetricsSample } from "../protocol/noderax/realtime.ts";
import { type Limits, readLimits } from "./cgroup.ts";
import { createCpuMeter } from "./cpu.ts";
import { createDiskMeter } from "./disk.ts";
import { type Machine, percent, refreshed, thisMachine } from "./machine.ts";
import { parseMeminfo } from "./memory.ts";
import { diskMounts, parseMountinfo } from "./mounts.ts";
import { createNetworkMeter } from "./network.ts";
import { createThermometer } from "./temperature.ts";

export interface Sampler {
  /** Never rejects. The first one resolves a second after `createSampler` at the earliest, then at once. */
  sample(signal?: AbortSignal): Promise<MetricsSample>;
}

/** The first interval of the CPU begins here. */
export function createSampler(machine: Machine = thisMachine(), now: () => Duration = steadyNow): Sampler {
  const mounts = refreshed(async () => parseMountinfo((await machine.read("/proc/self/mountinfo")) ?? ""));
  const limits = refreshed(async () => readLimits(machine, await mounts()));
  const cpuMeter = createCpuMeter(machine, limits, now);
  const diskMeter = createDiskMeter(machine, async () => diskMounts(await mounts()));
  const networkMeter = createNetworkMeter(machine);
  const thermometer = createThermometer(machine);
  let lastDisk = 0;

  return {
    async sample(signal) {
      const cpu = await cpuMeter(signal);
      const [memory, disk, network, temperature, loadavg, uptime] = await Promise.all([
        readMemory(machine, await limits()),
        diskMeter(),
        networkMeter(),
        thermometer(),
        machine.read("/proc/loadavg"),
        machine.read("/proc/uptime"),
      ]);
      const load = parseNumbers(loadavg, 3);
      const [uptimeSeconds] = parseNumbers(uptime, 1) ?? [];
      lastDisk = disk?.usage ?? lastDisk;
      return {
        // A kernel without CPU times (gVisor) still has a load average.
        cpuUsage: cpu.usage ?? percent(load?.[0] ?? 0, cpu.limit ?? cpu.cores ?? 1) ?? 0,
        memoryUsage: percent(memory.usedBytes, memory.totalBytes) ?? 0,
        diskUsage: lastDisk,
        ...given("temperature", temperature),
        networkStats: {
          ...network,
          ...given("load", load),
          swap: memory.swap,
          ...given("uptimeSeconds", uptimeSeconds === undefined ? undefined : Math.floor(uptimeSeconds)),
          ...given("diskMount", disk?.mount),
        },
        cpu: { ...given("cores", cpu.cores), ...given("limit", cpu.limit) },
        memory: { totalBytes: memory.totalBytes, usedBytes: memory.usedBytes },
        ...given("disk", disk && { ...disk }),
      };
    },
  };
}

/** In bytes; relative to the limit, where that is below the machine's memory. */
async function readMemory(machine: Machine, { memory: limit }: Limits) {
  const read = parseMeminfo((await machine.read("/proc/meminfo")) ?? "");
  const all = read ?? { total: totalmem(), available: freemem(), swapTotal: 0, swapFree: 0 };
  const swap = { totalBytes: all.swapTotal, usedBytes: all.swapTotal - all.swapFree };
  const used = limit !== undefined && limit.bytes < all.total ? await limit.usedBytes() : undefined;
  return limit === undefined || used === undefined
    ? { totalBytes: all.total, usedBytes: all.total - all.available, swap }
    : { totalBytes: limit.bytes, usedBytes: used, swap };
}

/** The first `count` numbers of `0.20 0.18 0.12 1/80 11206`. */
export function parseNumbers(text: string | undefined, count: number): number[] | undefined {
  const fields = text?.trim().split(/\s+/).slice(0, count) ?? [];
  return fields.length === count && fields.every((field) => /^\d+(?:\.\d+)?$/.test(field))
    ? fields.map(Number)
    : undefined;
}

/** Returns `{ key: value }`, or `{}` for undefined: the control plane does not accept null for a number. */
const given = <K extends string, T>(key: K, value: T | undefined): { [key in K]?: T } =>
  value === undefined ? {} : ({ [key]: value } as { [key in K]?: T });
