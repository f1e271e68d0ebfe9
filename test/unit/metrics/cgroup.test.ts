// Limits count in a container, on whichever version of cgroups; on a machine the agent's own never do.
import { expect, test } from "bun:test";
import {
  flatField,
  parseCgroups,
  parseCpuList,
  parseCpuMax,
  readLimits,
} from "../../../src/metrics/cgroup.ts";
import { parseMountinfo } from "../../../src/metrics/mounts.ts";
import { type Files, fixture, machineOf } from "./fixture.ts";

async function limitsOf(files: Files) {
  const machine = machineOf(files);
  const { cpu, memory } = await readLimits(machine, parseMountinfo(files.get("/proc/self/mountinfo") ?? ""));
  return {
    cores: cpu?.cores,
    seconds: await cpu?.usedSeconds(),
    bytes: memory?.bytes,
    used: await memory?.usedBytes(),
  };
}
const MiB = 2 ** 20;

test("v2: quota, memory limit, and what is used of them without cold cache", async () => {
  expect(await limitsOf(fixture("container-cgroup-v2"))).toEqual({
    cores: 1.5,
    seconds: 812.312412,
    bytes: 512 * MiB,
    used: 256 * MiB,
  });
});

test("v2 without a quota, but pinned to some CPUs: those are the limit", async () => {
  const files = fixture("container-cgroup-v2", {
    "/sys/fs/cgroup/cpu.max": "max 100000\n",
    "/sys/fs/cgroup/cpuset.cpus.effective": "0,2-3\n",
  });
  expect(await limitsOf(files)).toMatchObject({ cores: 3, seconds: 812.312412 });
});

test("v2 in the machine's cgroup namespace: the limits are found down the path of pid 1", async () => {
  const scope = "/sys/fs/cgroup/system.slice/docker-6c1f.scope";
  const files = fixture("container-cgroup-v2", {
    "/proc/1/cgroup": "0::/system.slice/docker-6c1f.scope\n",
    [`${scope}/cpu.max`]: "50000 100000\n",
    [`${scope}/cpu.stat`]: "usage_usec 2000000\n",
    [`${scope}/memory.max`]: "max\n",
    "/sys/fs/cgroup/system.slice/memory.max": `${300 * MiB}\n`,
    "/sys/fs/cgroup/system.slice/memory.current": `${100 * MiB}\n`,
  });
  expect(await limitsOf(files)).toEqual({ cores: 0.5, seconds: 2, bytes: 300 * MiB, used: 100 * MiB });
});

test("v1, mounted by Docker from inside, where the path of pid 1 leads nowhere", async () => {
  expect(await limitsOf(fixture("container-cgroup-v1"))).toEqual({
    cores: 0.5,
    seconds: 812.312412,
    bytes: 256 * MiB,
    used: 128 * MiB,
  });
});

test("hybrid with a systemd of its own: the limits of the container stand above init.scope", async () => {
  expect(await limitsOf(fixture("container-lxcfs"))).toEqual({
    cores: 2,
    seconds: 353.54,
    bytes: 2_048 * MiB,
    used: 1_600_000_000,
  });
});

test("a unit with MemoryMax and CPUQuota on a machine reports the machine", async () => {
  expect(await limitsOf(fixture("ubuntu-22-docker-host"))).toEqual({
    cores: undefined,
    seconds: undefined,
    bytes: undefined,
    used: undefined,
  });
});

test.each([
  ["centos-7", 2],
  ["two-sockets-rhel-8", 8],
  ["firecracker-6.18", 2],
])("v1 of %s, a machine: nothing below what it has", async (name, cores) => {
  const limits = await limitsOf(fixture(name));
  expect(limits.cores).toBe(cores);
  expect(limits.bytes ?? Infinity).toBeGreaterThan(2 ** 50);
});

test("a container that sees the machine's processes reports the machine", async () => {
  const files = fixture("container-cgroup-v2", { "/proc/1/cgroup": "0::/../../init.scope\n" });
  expect(await limitsOf(files)).toMatchObject({ cores: undefined, bytes: undefined });
});

test("without anything to read there are no limits", async () => {
  expect(await limitsOf(new Map())).toMatchObject({ cores: undefined, bytes: undefined });
});

test("the small formats", () => {
  expect(parseCgroups("4:cpu,cpuacct:/a:b\n0::/c\n1:name=systemd:/d\n")).toEqual(
    new Map([
      ["cpu", "/a:b"],
      ["cpuacct", "/a:b"],
      ["", "/c"],
      ["name=systemd", "/d"],
    ]),
  );
  expect(["150000 100000\n", "20000", "max 100000", "", "0 0"].map(parseCpuMax)).toEqual([
    1.5,
    0.2,
    undefined,
    undefined,
    undefined,
  ]);
  expect(["0-3,8,10-11\n", "5", "", "3-1", "a"].map(parseCpuList)).toEqual([
    7,
    1,
    undefined,
    undefined,
    undefined,
  ]);
  expect(flatField("inactive_file 7\nfile 12\n", "file")).toBe(12);
});
