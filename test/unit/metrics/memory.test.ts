// Memory in use is what a new program could not have, on every kernel.
import { expect, test } from "bun:test";
import { percent } from "../../../src/metrics/machine.ts";
import { parseMeminfo } from "../../../src/metrics/memory.ts";
import { text } from "./fixture.ts";

test.each([
  ["ubuntu-22-docker-host", 39.3],
  ["alpine-3.20", 18.2],
  ["raspberry-pi-4", 12.2],
  ["two-sockets-rhel-8", 41.4],
  ["container-lxcfs", 25],
])("%s uses %d percent", (name, usage) => {
  const memory = parseMeminfo(text(name, "/proc/meminfo"));
  expect(memory && percent(memory.total - memory.available, memory.total)).toBe(usage);
});

test("before Linux 3.14, caches count as free and shared memory does not", () => {
  const memory = parseMeminfo(text("centos-7", "/proc/meminfo"));
  expect(memory?.available).toBe((218_248 + 2_108 + 1_843_264 + 141_000 - 394_912) * 1_024);
  expect(memory?.swapFree).toBe(2_095_588 * 1_024);
});

test("more available than there is, as some lxcfs say, is all of it", () => {
  expect(parseMeminfo("MemTotal: 100 kB\nMemAvailable: 200 kB\n")?.available).toBe(100 * 1_024);
});

test("a file without a total is no reading", () => {
  expect(parseMeminfo("MemFree: 100 kB\n")).toBeUndefined();
  expect(parseMeminfo("")).toBeUndefined();
});
