// CPU usage is the share of busy ticks over the whole interval, whatever CPUs do in between.
import { expect, test } from "bun:test";
import { seconds } from "../../../src/lib/duration.ts";
import { cpuUsage, createCpuMeter, parseCpuStat } from "../../../src/metrics/cpu.ts";
import { quickClock } from "../../support/fake-time.ts";
import { turn } from "../../support/until.ts";
import { fixture, machineOf, text } from "./fixture.ts";

const stat = (...lines: string[]) => parseCpuStat([...lines, "intr 1 2 3", "ctxt 4", ""].join("\n"));

test.each([
  ["centos-7", 2],
  ["ubuntu-22-docker-host", 4],
  ["alpine-3.20", 1],
  ["raspberry-pi-4", 4],
  ["two-sockets-rhel-8", 8],
  ["container-lxcfs", 2],
  ["firecracker-6.18", 2],
])("the CPUs of %s are %d, without the line that sums them", (name, cores) => {
  const counters = parseCpuStat(text(name, "/proc/stat"));
  expect([...counters.keys()]).toEqual(Array.from({ length: cores }, (_, k) => `cpu${k}`));
});

test("waiting for a disk is idle, stolen time is busy, a guest's time is counted once", () => {
  const before = stat("cpu0 0 0 0 0 0 0 0 0 0 0");
  //                        user nice system idle iowait irq softirq steal guest guest_nice
  const after = stat("cpu0 30 10 10 20 20 2 3 5 30 10");
  expect(cpuUsage(before, after)).toBe(60);
});

test("a kernel without iowait and the later columns is read", () => {
  expect(cpuUsage(stat("cpu 0 0 0 0"), stat("cpu 25 0 0 75"))).toBe(25);
});

test("a CPU that came, went or was reset in between is left out", () => {
  const before = stat("cpu 0 0 0 0", "cpu0 100 0 0 100", "cpu1 900 0 0 900", "cpu2 500 0 0 500");
  const after = stat("cpu 0 0 0 0", "cpu0 110 0 0 130", "cpu2 5 0 0 10", "cpu3 900 0 0 0");
  expect(cpuUsage(before, after)).toBe(25);
});

test("iowait that steps back, as kernels do, makes no one negative", () => {
  expect(cpuUsage(stat("cpu0 100 0 0 100 50"), stat("cpu0 150 0 0 150 45"))).toBe(52.6);
  expect(cpuUsage(stat("cpu0 100 0 0 100 50"), stat("cpu0 150 0 0 100 45"))).toBe(100);
});

test("no time passed is no usage, not zero", () => {
  const counters = stat("cpu0 1 2 3 4");
  expect(cpuUsage(counters, counters)).toBeUndefined();
  expect(cpuUsage(stat(), stat("cpu0 1 2 3 4"))).toBeUndefined();
});

test("each reading covers the time since the one before, not a moment", async () => {
  const files = fixture("alpine-3.20", { "/proc/stat": "cpu0 0 0 0 0\n" });
  let now = 0;
  const meter = createCpuMeter(
    machineOf(files),
    async () => ({}),
    () => now,
  );
  await turn(); // the baseline is read
  now += seconds(10);
  files.set("/proc/stat", "cpu0 300 0 0 700\n");
  expect((await meter()).usage).toBe(30);
  now += seconds(10);
  files.set("/proc/stat", "cpu0 400 0 0 1600\n");
  expect((await meter()).usage).toBe(10);
});

test("asked again too soon, the meter repeats itself and loses nothing of the interval", async () => {
  const files = fixture("alpine-3.20", { "/proc/stat": "cpu0 0 0 0 0\n" });
  let now = 0;
  const meter = createCpuMeter(
    machineOf(files),
    async () => ({}),
    () => now,
  );
  await turn();
  now += seconds(10);
  files.set("/proc/stat", "cpu0 500 0 0 500\n");
  expect((await meter()).usage).toBe(50);
  now += 10;
  files.set("/proc/stat", "cpu0 501 0 0 500\n");
  expect((await meter()).usage).toBe(50);
  now += seconds(10);
  files.set("/proc/stat", "cpu0 600 0 0 1400\n");
  expect((await meter()).usage).toBe(10);
});

test("the first reading waits until there is an interval worth the name", async () => {
  using _clock = quickClock();
  const files = fixture("alpine-3.20");
  const started = performance.now();
  const meter = createCpuMeter(machineOf(files), async () => ({}));
  await meter();
  expect(performance.now() - started).toBeWithin(790, seconds(2));
});

test("in a container, usage is that of its cgroup over what it may use", async () => {
  const files = fixture("container-cgroup-v2");
  let now = 0;
  let used = 100;
  const limits = async () => ({ cpu: { cores: 1.5, usedSeconds: async () => used } });
  const meter = createCpuMeter(machineOf(files), limits, () => now);
  await turn();
  now += seconds(10);
  used += 7.5;
  expect(await meter()).toEqual({ usage: 50, cores: 4, limit: 1.5 });
});

test("a limit above what the machine has is none", async () => {
  const files = fixture("container-cgroup-v2", { "/proc/stat": "cpu0 0 0 0 0\ncpu1 0 0 0 0\n" });
  let now = 0;
  const limits = async () => ({ cpu: { cores: 2, usedSeconds: async () => 1 } });
  const meter = createCpuMeter(machineOf(files), limits, () => now);
  await turn();
  now += seconds(10);
  files.set("/proc/stat", "cpu0 30 0 0 70\ncpu1 10 0 0 90\n");
  expect(await meter()).toEqual({ usage: 20, cores: 2, limit: undefined });
});
