// Bytes are counted at the cards, once; where there are none, at what a container has instead.
import { expect, test } from "bun:test";
import { minutes } from "../../../src/lib/duration.ts";
import { createNetworkMeter, parseNetDev, summarize } from "../../../src/metrics/network.ts";
import { fixture, machineOf, text } from "./fixture.ts";

test.each([
  // No space behind the colon.
  ["centos-7", ["eth0"]],
  // Not docker0, its bridges and veths, nor the tunnel whose packets the card carries.
  ["ubuntu-22-docker-host", ["enp3s0"]],
  ["alpine-3.20", ["eth0"]],
  // The unused eth0 is not listed.
  ["raspberry-pi-4", ["wlan0"]],
  // The cards of the bond, not bond, VLAN and bridge; and the card beside it.
  ["two-sockets-rhel-8", ["eno2", "eno1", "enp5s0f0"]],
  ["container-cgroup-v2", ["eth0"]],
  ["container-lxcfs", ["eth0"]],
  ["firecracker-6.18", ["eth0"]],
])("the traffic of %s is that of %j", async (name, expected) => {
  const network = await createNetworkMeter(machineOf(fixture(name)))();
  expect(network?.interfaces.map((one) => one.name)).toEqual(expected);
});

test("every counter of a bond's cards is summed once", async () => {
  const network = await createNetworkMeter(machineOf(fixture("two-sockets-rhel-8")))();
  const { interfaces: _, ...totals } = network ?? {};
  expect(totals as unknown).toEqual({
    rxBytes: 3_005_000,
    txBytes: 300_500,
    rxPackets: 3_050,
    txPackets: 305,
    errorsIn: 1,
    errorsOut: 3,
    dropIn: 2,
    dropOut: 4,
  });
});

test("on Azure, a virtual function counts in the card that it accelerates", async () => {
  const line = (name: string, bytes: number) => `${name}: ${bytes} 1 0 0 0 0 0 0 ${bytes} 1 0 0 0 0 0 0`;
  const files = new Map([
    ["/proc/net/dev", `${line("eth0", 900)}\n${line("enP1s1", 800)}\n`],
    ["/sys/class/net/eth0/device/uevent", ""],
    ["/sys/class/net/enP1s1/device/uevent", ""],
    ["/sys/class/net/enP1s1/upper_eth0/ifindex", ""],
  ]);
  expect((await createNetworkMeter(machineOf(files))())?.rxBytes).toBe(900);
});

test("rootless Podman has only a tap: better that than nothing", async () => {
  const files = new Map([["/proc/net/dev", "tap0: 7 1 0 0 0 0 0 0 8 1 0 0 0 0 0 0\n"]]);
  expect(await createNetworkMeter(machineOf(files))()).toMatchObject({ rxBytes: 7, txBytes: 8 });
});

test("sysfs is looked into once for a card, and never for what its name betrays", async () => {
  const machine = machineOf(fixture("ubuntu-22-docker-host"));
  const looked: string[] = [];
  let now = 0;
  const counting = { ...machine, names: (path: string) => (looked.push(path), machine.names(path)) };
  const meter = createNetworkMeter(counting, () => now);
  await meter();
  await meter();
  expect(looked).toEqual(["/sys/class/net/enp3s0"]);
  now = minutes(6); // it may have joined a bond
  await meter();
  expect(looked).toHaveLength(2);
});

test("a card that is plugged in later is counted", async () => {
  const files = fixture("alpine-3.20");
  const meter = createNetworkMeter(machineOf(files));
  await meter();
  files.set("/proc/net/dev", `${files.get("/proc/net/dev")}eth1: 5000000 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n`);
  files.set("/sys/class/net/eth1/device/uevent", "");
  expect((await meter())?.interfaces.map((one) => one.name)).toEqual(["eth1", "eth0"]);
});

test("no more than eight are listed, all are summed", () => {
  const many = Array.from({ length: 20 }, (_, k) => `p${k}: ${k + 1} 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0`).join(
    "\n",
  );
  const network = summarize(parseNetDev(many));
  expect(network.interfaces).toHaveLength(8);
  expect(network.interfaces[0]).toEqual({ name: "p19", bytesRecv: 20, bytesSent: 0 });
  expect(network.rxBytes).toBe(210);
});

test("headers and lines that are cut off are no interfaces", () => {
  expect(parseNetDev(text("centos-7", "/proc/net/dev")).map((one) => one.name)).toEqual(["eth0"]);
  expect(parseNetDev("eth0: 1 2 3\neth1:\n")).toEqual([]);
});
