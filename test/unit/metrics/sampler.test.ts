// A sample has what the contract allows and nothing else; what the machine does not tell is left out, never invented.
import { expect, test } from "bun:test";
import { createHttp } from "../../../src/control/http.ts";
import { publicApi } from "../../../src/control/noderax-api.ts";
import { seconds } from "../../../src/lib/duration.ts";
import { type Machine, thisMachine } from "../../../src/metrics/machine.ts";
import { createSampler, parseNumbers } from "../../../src/metrics/sampler.ts";
import { turn } from "../../support/until.ts";
import { enrolled, sandboxWith } from "../sandbox/harness.ts";
import { disk, fixture, machineOf } from "./fixture.ts";

/** Samples after ten seconds in which `change` happened. */
async function sampleOf(machine: Machine, change: () => void = () => {}) {
  let now = 0;
  const sampler = createSampler(machine, () => now);
  await turn(); // the baseline is read
  now = seconds(10);
  change();
  return sampler.sample();
}

const TOP = ["cpu", "cpuUsage", "disk", "diskUsage", "memory", "memoryUsage", "networkStats", "temperature"];
const NAMES = [
  "alpine-3.20",
  "centos-7",
  "container-cgroup-v1",
  "container-cgroup-v2",
  "container-lxcfs",
  "firecracker-6.18",
  "raspberry-pi-4",
  "two-sockets-rhel-8",
  "ubuntu-22-docker-host",
];

test.each(NAMES)("%s: only the fields of the contract, percentages in range, at most 1 kB", async (name) => {
  const sample = await sampleOf(machineOf(fixture(name)));
  expect(TOP).toEqual(expect.arrayContaining(Object.keys(sample)));
  for (const usage of [sample.cpuUsage, sample.memoryUsage, sample.diskUsage]) {
    expect(usage).toBeGreaterThanOrEqual(0);
    expect(usage).toBeLessThanOrEqual(100);
  }
  expect(JSON.stringify(sample)).not.toContain("null");
  expect(JSON.stringify(sample).length).toBeLessThan(1_000);
});

test("the control plane, which refuses what it does not know, takes the samples of all machines", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const http = createHttp({ baseUrl: sandbox.url, authorities: () => "" });
  for (const name of NAMES) {
    const sample = await sampleOf(machineOf(fixture(name)));
    const body = {
      nodeId: node.id,
      agentToken: node.token,
      collectedAt: new Date().toISOString(),
      ...sample,
    };
    const row = await publicApi(http, seconds(5)).metrics(body, new AbortController().signal);
    expect(row).toMatchObject({ cpuUsage: sample.cpuUsage, networkStats: sample.networkStats });
  }
  expect(sandbox.node(node.id).status).toBe("online");
});

test("a whole sample of a machine", async () => {
  const files = fixture("raspberry-pi-4");
  const sample = await sampleOf(machineOf(files, { "/": disk(61), "/boot/firmware": disk(14) }), () => {
    const stat = files.get("/proc/stat") ?? "";
    files.set("/proc/stat", stat.replace("cpu0 22807 3 10307 2030781", "cpu0 22907 3 10307 2031681"));
  });
  expect(sample).toEqual({
    cpuUsage: 10,
    memoryUsage: 12.2,
    diskUsage: 61,
    temperature: 48.7,
    networkStats: {
      rxBytes: 812_312_412,
      txBytes: 71_231_241,
      rxPackets: 712_312,
      txPackets: 412_312,
      errorsIn: 0,
      errorsOut: 0,
      dropIn: 3_123,
      dropOut: 0,
      interfaces: [{ name: "wlan0", bytesRecv: 812_312_412, bytesSent: 71_231_241 }],
      load: [0.08, 0.05, 0.01],
      swap: { totalBytes: 102_396 * 1_024, usedBytes: 0 },
      uptimeSeconds: 20_712,
      diskMount: "/",
    },
    cpu: { cores: 4 },
    memory: { totalBytes: 3_885_392 * 1_024, usedBytes: (3_885_392 - 3_412_312) * 1_024 },
    disk: { usage: 61, mount: "/", totalBytes: 100 * 2 ** 30, usedBytes: 61 * 2 ** 30 },
  });
});

test("the fullest disk is diskUsage, and named", async () => {
  const disks = { "/": disk(20), "/data": disk(97), "/boot/efi": disk(5) };
  const sample = await sampleOf(machineOf(fixture("ubuntu-22-docker-host"), disks));
  expect(sample.diskUsage).toBe(97);
  expect(sample.disk).toMatchObject({ mount: "/data" });
});

test("in a container, CPU and memory are shares of its limits", async () => {
  const files = fixture("container-cgroup-v2");
  const sample = await sampleOf(machineOf(files), () =>
    files.set("/sys/fs/cgroup/cpu.stat", "usage_usec 815312412\n"),
  );
  expect(sample.cpuUsage).toBe(20); // 3 s of the 15 that one CPU and a half have in 10 s
  expect(sample.memoryUsage).toBe(50);
  expect(sample.cpu).toEqual({ cores: 4, limit: 1.5 });
});

test("under systemd, the unit's own limits do not count: it is the machine that is reported", async () => {
  const sample = await sampleOf(machineOf(fixture("ubuntu-22-docker-host")));
  expect(sample.memory).toMatchObject({ totalBytes: 16_257_792 * 1_024 });
  expect(sample.cpu).toEqual({ cores: 4 });
});

test("a kernel that counts no time is judged by its load", async () => {
  const files = fixture("raspberry-pi-4", {
    "/proc/stat": "cpu  0 0 0 0 0 0 0 0 0 0\n",
    "/proc/loadavg": "0.5 0 0 1/2 3\n",
  });
  expect((await sampleOf(machineOf(files))).cpuUsage).toBe(50);
});

test("a machine that tells nothing still has its three numbers", async () => {
  const sample = await sampleOf(machineOf(new Map(), {}));
  expect(sample).toMatchObject({ cpuUsage: 0, diskUsage: 0 });
  expect(sample.memoryUsage).toBeGreaterThan(0); // asked of the system instead
  expect(sample).not.toHaveProperty("temperature");
  expect(sample).not.toHaveProperty("disk");
});

test("a disk that cannot be read any more keeps its last number", async () => {
  const disks = { "/": disk(40) } as Record<string, ReturnType<typeof disk>>;
  let now = 0;
  const sampler = createSampler(machineOf(fixture("alpine-3.20"), disks), () => now);
  await turn();
  now = seconds(10);
  expect((await sampler.sample()).diskUsage).toBe(40);
  delete disks["/"];
  expect((await sampler.sample()).diskUsage).toBe(40);
});

test("mounts, limits and sensors are not looked for again at every sample", async () => {
  const machine = machineOf(fixture("two-sockets-rhel-8"));
  const sampler = createSampler(machine);
  await sampler.sample();
  machine.reads.length = 0;
  await sampler.sample();
  expect(machine.reads.sort()).toEqual([
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/uptime",
    "/sys/class/hwmon/hwmon0/temp1_input",
    "/sys/class/hwmon/hwmon1/temp1_input",
  ]);
});

test("this machine is sampled: busy while it works, and its root disk is found", async () => {
  const sampler = createSampler();
  const until = performance.now() + 1_000;
  while (performance.now() < until) for (let k = 0; k < 1e5; k++) Math.sqrt(k);
  const sample = await sampler.sample();
  expect(sample.cpuUsage).toBeGreaterThan(0);
  expect(sample.memoryUsage).toBeGreaterThan(0);
  expect(sample.diskUsage).toBeGreaterThan(0);
  expect(sample.networkStats).toMatchObject({ uptimeSeconds: expect.any(Number) });
});

test("what cannot be read is absent, not an error", async () => {
  const machine = thisMachine("/nowhere");
  expect(await machine.read("/proc/stat")).toBeUndefined();
  expect(await machine.names("/sys")).toEqual([]);
  expect(await machine.filesystem("/")).toBeUndefined();
});

test("numbers at the beginning of a line, all of them or none", () => {
  expect(parseNumbers("0.20 0.18 0.12 1/80 11206\n", 3)).toEqual([0.2, 0.18, 0.12]);
  expect([parseNumbers("0.20 x 0.12", 3), parseNumbers("1", 3), parseNumbers(undefined, 1)]).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
});
