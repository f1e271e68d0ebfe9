// Whatever a kernel, or a filesystem that imitates one, writes: no parser throws, and every percentage is one.
import { expect, test } from "bun:test";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { parseCgroups, parseCpuList, parseCpuMax, flatField } from "../../src/metrics/cgroup.ts";
import { type CpuCounters, cpuUsage, parseCpuStat } from "../../src/metrics/cpu.ts";
import { diskUsage } from "../../src/metrics/disk.ts";
import { percent } from "../../src/metrics/machine.ts";
import { parseMeminfo } from "../../src/metrics/memory.ts";
import { diskMounts, parseMountinfo } from "../../src/metrics/mounts.ts";
import { counted, parseNetDev, summarize } from "../../src/metrics/network.ts";
import { parseTemperature } from "../../src/metrics/temperature.ts";

const fixtures = join(import.meta.dir, "../fixtures/proc");
const lines = readdirSync(fixtures).flatMap((name) => readFileSync(join(fixtures, name), "utf8").split("\n"));

/** Lines of real machines, torn, mixed and with noise between. */
const torn = fc
  .tuple(fc.constantFrom(...lines), fc.nat(80), fc.nat(80))
  .map(([line, a, b]) => line.slice(Math.min(a, b), Math.max(a, b)));
const noise = fc.string({ unit: "binary", maxLength: 40 });
const piece = fc.oneof(fc.constantFrom(...lines), torn, noise);
const garbage = fc
  .tuple(fc.array(piece, { maxLength: 20 }), fc.constantFrom("\n", " ", ""))
  .map(([pieces, glue]) => pieces.join(glue));

const isPercent = (value: number | undefined): boolean =>
  value === undefined || (value >= 0 && value <= 100 && Number.isFinite(value));
const isCount = (value: number): boolean => Number.isFinite(value) && value >= 0;

test("no parser throws, and all numbers that come out are sane", () => {
  fc.assert(
    fc.property(garbage, garbage, (text, other) => {
      expect(isPercent(cpuUsage(parseCpuStat(text), parseCpuStat(other)))).toBe(true);
      const memory = parseMeminfo(text);
      if (memory !== undefined) {
        expect(isPercent(percent(memory.total - memory.available, memory.total))).toBe(true);
        expect(memory.swapFree).toBeLessThanOrEqual(memory.swapTotal);
      }
      const { interfaces, ...totals } = summarize(counted(parseNetDev(text), new Map()));
      expect(Object.values(totals).every(isCount)).toBe(true);
      expect(interfaces.length).toBeLessThanOrEqual(8);
      const points = diskMounts(parseMountinfo(text));
      expect(points.length).toBeGreaterThan(0);
      expect(points.length).toBeLessThanOrEqual(32);
      const degrees = parseTemperature(text);
      expect(degrees === undefined || (degrees > 0 && degrees < 130)).toBe(true);
      parseCgroups(text);
      for (const limit of [parseCpuMax(text), parseCpuList(text), flatField(text, "usage_usec")])
        expect(limit === undefined || isCount(limit)).toBe(true);
    }),
    { numRuns: 2_000 },
  );
});

const ticks = fc.nat(1_000_000);
const cpu = fc.record({ busy: ticks, idle: ticks });
const counters = fc
  .dictionary(fc.constantFrom("cpu0", "cpu1", "cpu2", "cpu3"), cpu)
  .map((cpus): CpuCounters => new Map(Object.entries(cpus)));

test("counters that only grow give the ratio of what they grew by", () => {
  const grown = fc.array(fc.tuple(cpu, cpu), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(grown, (cpus) => {
      const before: CpuCounters = new Map(cpus.map(([start], k) => [`cpu${k}`, start]));
      const after: CpuCounters = new Map(
        cpus.map(([start, by], k) => [`cpu${k}`, { busy: start.busy + by.busy, idle: start.idle + by.idle }]),
      );
      const busy = cpus.reduce((sum, [, by]) => sum + by.busy, 0);
      const total = cpus.reduce((sum, [, by]) => sum + by.busy + by.idle, 0);
      const usage = cpuUsage(before, after);
      if (total === 0) expect(usage).toBeUndefined();
      else expect(Math.abs((usage ?? -1) - (busy / total) * 100)).toBeLessThanOrEqual(0.051);
    }),
    { numRuns: 2_000 },
  );
});

test("counters that go anywhere, of CPUs that come and go, never give less than 0 or more than 100", () => {
  fc.assert(
    fc.property(counters, counters, (before, after) => {
      expect(isPercent(cpuUsage(before, after))).toBe(true);
    }),
    { numRuns: 5_000 },
  );
});

test("the ticks of a line are found wherever they were written", () => {
  const fields = fc.tuple(ticks, ticks, ticks, ticks, ticks, ticks, ticks, ticks, ticks, ticks);
  fc.assert(
    fc.property(fields, (columns) => {
      const [user, nice, system, idle, iowait, irq, softirq, steal] = columns;
      expect(parseCpuStat(`cpu  0 0 0 0\ncpu0 ${columns.join(" ")}\nintr 1\n`)).toEqual(
        new Map([["cpu0", { busy: user + nice + system + irq + softirq + steal, idle: idle + iowait }]]),
      );
    }),
  );
});

test("a disk's usage is a percentage whatever statfs claims", () => {
  const blocks = fc.oneof(fc.nat(), fc.maxSafeNat());
  const filesystem = fc.record({ blockSize: fc.nat(), blocks, free: blocks, available: blocks });
  fc.assert(fc.property(filesystem, (disk) => expect(isPercent(diskUsage(disk))).toBe(true)));
});

test("a mount point of any characters survives the kernel's escapes", () => {
  const path = fc.string({ unit: "grapheme", maxLength: 30 }).map((text) => `/${text.replaceAll("\0", "")}`);
  fc.assert(
    fc.property(path, (mountPoint) => {
      const escaped = mountPoint.replaceAll(
        /[ \t\n\\#]/g,
        (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, "0")}`,
      );
      const [mount] = parseMountinfo(`1 0 8:1 / ${escaped} rw - ext4 /dev/sda1 rw\n`);
      expect(mount?.mountPoint).toBe(mountPoint);
    }),
  );
});
