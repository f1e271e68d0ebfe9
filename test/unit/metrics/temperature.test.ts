// The processor's temperature, from where it is told, or none at all.
import { expect, test } from "bun:test";
import { createThermometer, parseTemperature } from "../../../src/metrics/temperature.ts";
import { type Files, fixture, machineOf } from "./fixture.ts";

const temperatureOf = (files: Files) => createThermometer(machineOf(files))();

test.each([
  // In the place of kernels before 3.14, without a package sensor.
  ["centos-7", 53],
  // Not the NVMe's 71.9, not ACPI's constant.
  ["ubuntu-22-docker-host", 62],
  ["raspberry-pi-4", 48.7],
  ["two-sockets-rhel-8", 77],
])("%s has %d °C", async (name, degrees) => {
  expect(await temperatureOf(fixture(name))).toBe(degrees);
});

test.each(["alpine-3.20", "firecracker-6.18", "container-cgroup-v2"])("%s has none", async (name) => {
  expect(await temperatureOf(fixture(name))).toBeUndefined();
});

test("only the package sensor of an Intel processor is read: a core's would wake the core", async () => {
  const machine = machineOf(fixture("two-sockets-rhel-8"));
  const thermometer = createThermometer(machine);
  await thermometer();
  machine.reads.length = 0;
  await thermometer();
  expect(machine.reads).toEqual([
    "/sys/class/hwmon/hwmon0/temp1_input",
    "/sys/class/hwmon/hwmon1/temp1_input",
  ]);
});

test("AMD's Tctl, which may be offset, gives way to the dies", async () => {
  const chip = "/sys/class/hwmon/hwmon0";
  const files = new Map([
    [`${chip}/name`, "k10temp\n"],
    [`${chip}/temp1_input`, "77000\n"],
    [`${chip}/temp1_label`, "Tctl\n"],
    [`${chip}/temp2_input`, "50000\n"],
    [`${chip}/temp2_label`, "Tdie\n"],
  ]);
  expect(await temperatureOf(files)).toBe(50);
  files.delete(`${chip}/temp2_input`);
  expect(await temperatureOf(files)).toBe(77);
});

test("thousandths and whole degrees are read, zero and nonsense are not", () => {
  expect(["48686\n", "45", "-5000", "0\n", "255000", "", "n/a", undefined].map(parseTemperature)).toEqual([
    48.7,
    45,
    undefined,
    undefined,
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
});
