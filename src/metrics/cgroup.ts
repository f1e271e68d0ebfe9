// Reads the limits of a container. Inside one, usage is measured against its limit; else against the machine.
//
// The limits of pid 1 count, since they hold for all visible processes. In a container these are the container's; on a
// machine pid 1 has none, and the limits of the agent's own service (MemoryMax= of its unit) are ignored. So no code has to
// guess whether this is a container.
//
// Limits add up on the way down, from the top of what is mounted to the cgroup of pid 1; the tightest one counts, and
// the usage is read at the same place. Which hierarchy has a controller (v1, v2, both at once) is in mountinfo.
import { type Machine, parseCount } from "./machine.ts";
import type { Mount } from "./mounts.ts";

export interface Limits {
  readonly cpu?: { readonly cores: number; readonly usedSeconds: () => Promise<number | undefined> };
  readonly memory?: { readonly bytes: number; readonly usedBytes: () => Promise<number | undefined> };
}

/** Controller ("" for v2) to path, from `/proc/<pid>/cgroup`: `4:cpu,cpuacct:/docker/1f` or `0::/init.scope`. */
export function parseCgroups(text: string): Map<string, string> {
  const paths = new Map<string, string>();
  for (const [, controllers = "", path = ""] of text.matchAll(/^\d+:([^:\n]*):(\/.*)$/gm))
    for (const controller of controllers.split(",")) paths.set(controller, path);
  return paths;
}

/** v2 `cpu.max`: "150000 100000" is one CPU and a half; "max 100000" is no limit. */
export function parseCpuMax(text: string): number | undefined {
  const [quota, period = "100000"] = text.trim().split(/\s+/);
  return quotient(parseCount(quota), parseCount(period));
}

/** How many CPUs "0-3,8,10-11" names. */
export function parseCpuList(text: string): number | undefined {
  let count = 0;
  for (const range of text.trim().split(",")) {
    const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(range) ?? [];
    if (first === undefined || Number(last) < Number(first)) return undefined;
    count += Number(last) - Number(first) + 1;
  }
  return count;
}

/** The line `key value` of a flat file such as `memory.stat`. */
export const flatField = (text: string | undefined, key: string): number | undefined =>
  parseCount(text?.match(new RegExp(`^${key} (\\d+)$`, "m"))?.[1]);

const quotient = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined || a === 0 || b === 0 ? undefined : a / b;

/** All limits, also those above the machine's own size: the reader compares. */
export async function readLimits(machine: Machine, mounts: readonly Mount[]): Promise<Limits> {
  const paths = parseCgroups((await machine.read("/proc/1/cgroup")) ?? "");
  const hierarchy = (controller: string) => findHierarchy(machine, mounts, paths, controller);
  const cpu = await cpuLimit(machine, await hierarchy("cpu"), await hierarchy("cpuset"), () =>
    hierarchy("cpuacct"),
  );
  const memory = await memoryLimit(machine, await hierarchy("memory"));
  return { ...(cpu === undefined ? {} : { cpu }), ...(memory === undefined ? {} : { memory }) };
}

interface Hierarchy {
  readonly v2: boolean;
  /** From the top of what is mounted down to the cgroup of pid 1. */
  readonly directories: readonly string[];
}

async function findHierarchy(
  machine: Machine,
  mounts: readonly Mount[],
  paths: ReadonlyMap<string, string>,
  controller: string,
): Promise<Hierarchy> {
  const v1 = mounts.find((mount) => mount.type === "cgroup" && mount.superOptions.includes(controller));
  const v2 = v1 === undefined;
  const top = (v1 ?? mounts.find((mount) => mount.type === "cgroup2"))?.mountPoint;
  const path = paths.get(v2 ? "" : controller) ?? "/";
  // "/../…" is a pid 1 outside of our cgroup namespace: a container that was given the machine's processes to see.
  if (top === undefined || path.startsWith("/..")) return { v2, directories: [] };
  const directories = [top];
  for (const step of path.split("/").filter(Boolean)) {
    const below = `${directories.at(-1)}/${step}`;
    // Docker on v1 mounts the container's own cgroup at the top, where the path leads nowhere.
    if ((await machine.names(below)).length === 0) break;
    directories.push(below);
  }
  return { v2, directories };
}

/** Returns the smallest limit on the way down, and its directory. */
async function tightest(
  directories: readonly string[],
  read: (directory: string) => Promise<number | undefined>,
): Promise<{ limit: number; directory: string } | undefined> {
  let found: { limit: number; directory: string } | undefined;
  for (const directory of directories) {
    const limit = await read(directory);
    if (limit !== undefined && limit > 0 && limit < (found?.limit ?? Infinity)) found = { limit, directory };
  }
  return found;
}

async function cpuLimit(
  machine: Machine,
  { v2, directories }: Hierarchy,
  sets: Hierarchy,
  accounting: () => Promise<Hierarchy>,
): Promise<Limits["cpu"]> {
  const file = (directory: string, name: string) => machine.read(`${directory}/${name}`);
  const quota = await tightest(directories, async (directory) => {
    if (v2) return parseCpuMax((await file(directory, "cpu.max")) ?? "");
    const [share, period] = ["cpu.cfs_quota_us", "cpu.cfs_period_us"];
    return quotient(parseCount(await file(directory, share)), parseCount(await file(directory, period)));
  });
  const set = await tightest(sets.directories, async (directory) => {
    // The root of v2 has no cpuset.cpus, and its effective ones lack those of partitions.
    const wanted = await file(directory, "cpuset.cpus");
    const effective = sets.v2 ? "cpuset.cpus.effective" : "cpuset.effective_cpus";
    return wanted === undefined ? undefined : parseCpuList((await file(directory, effective)) ?? wanted);
  });
  const bySet = (set?.limit ?? Infinity) < (quota?.limit ?? Infinity);
  const [found, among] = bySet ? [set, sets.directories] : [quota, directories];
  if (found === undefined) return undefined;
  // Usage is read at the same depth: below it (init.scope) would be that of pid 1 alone.
  const depth = among.indexOf(found.directory);
  const at = (chain: readonly string[]): string => chain[depth] ?? chain.at(-1) ?? "";
  const path = v2 ? `${at(directories)}/cpu.stat` : `${at((await accounting()).directories)}/cpuacct.usage`;
  const usedSeconds = async () => {
    const text = await machine.read(path);
    return v2 ? scaled(flatField(text, "usage_usec"), 1e-6) : scaled(parseCount(text), 1e-9);
  };
  return { cores: found.limit, usedSeconds };
}

async function memoryLimit(machine: Machine, { v2, directories }: Hierarchy): Promise<Limits["memory"]> {
  const [limit, usage, cold] = v2
    ? ["memory.max", "memory.current", "inactive_file"]
    : ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];
  // "No limit" is "max" in v2, and in v1 a number above all memory there can be.
  const found = await tightest(directories, async (directory) =>
    parseCount(await machine.read(`${directory}/${limit}`)),
  );
  if (found === undefined) return undefined;
  return {
    bytes: found.limit,
    // Inactive file cache is released on demand: it counts as free.
    usedBytes: async () => {
      const used = parseCount(await machine.read(`${found.directory}/${usage}`));
      const cache = flatField(await machine.read(`${found.directory}/memory.stat`), cold ?? "") ?? 0;
      return used === undefined ? undefined : Math.max(0, used - cache);
    },
  };
}

const scaled = (n: number | undefined, by: number): number | undefined =>
  n === undefined ? undefined : n * by;
