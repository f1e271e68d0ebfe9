// Reads the temperature of the processor; undefined without a sensor, since 0 °C would be wrong.
import { minutes } from "../lib/duration.ts";
import { type Machine, refreshed } from "./machine.ts";

/** hwmon chips and thermal zones of processors; without ACPI, which often reports a constant. */
const OF_PROCESSOR =
  /^(?:coretemp|k8temp|k10temp|zenpower|via_cputemp|x86_pkg_temp|tcpu|bcm2835_thermal|soc[-_]thermal|(?:cpu|cluster|bigcore|littlecore|big|little).*)$/i;
/** Reading a core's sensor wakes the core. */
const SENSORS_MAX = 16;

/** Range in °C; a value outside means a broken or missing sensor. */
const PLAUSIBLE = { above: 0, below: 130 };

/** °C from a file that holds thousandths; some old vendor kernels write whole degrees. */
export function parseTemperature(text: string | undefined): number | undefined {
  const match = /^-?\d+$/.exec(text?.trim() ?? "");
  if (match === null) return undefined;
  const raw = Number(match[0]);
  const degrees = Math.round((raw < 200 ? raw : raw / 1_000) * 10) / 10;
  return degrees > PLAUSIBLE.above && degrees < PLAUSIBLE.below ? degrees : undefined;
}

export interface Sensor {
  readonly path: string;
  /** "Package id 0", "Core 3", "Tctl"; empty where there is none. */
  readonly label: string;
}

/** Returns the readings of a chip that show its maximum: the package (its hottest core); on AMD not Tctl, which may be offset. */
export function telling(sensors: readonly Sensor[]): readonly Sensor[] {
  const packages = sensors.filter(({ label }) => label.startsWith("Package"));
  if (packages.length > 0) return packages;
  const dies = sensors.filter(({ label }) => /^T(?:die|ccd)/.test(label));
  return dies.length > 0 ? dies : sensors;
}

/** Returns the files to read. Thermal zones only without an hwmon chip of a processor: they mirror each other. */
export async function findSensors(machine: Machine): Promise<string[]> {
  const found: string[] = [];
  for (const chip of await machine.names("/sys/class/hwmon")) {
    // Until Linux 3.14 name and values were one directory deeper.
    for (const directory of [`/sys/class/hwmon/${chip}`, `/sys/class/hwmon/${chip}/device`]) {
      const name = await machine.read(`${directory}/name`);
      if (name === undefined) continue;
      if (OF_PROCESSOR.test(name.trim())) found.push(...(await ofChip(machine, directory)));
      break;
    }
  }
  if (found.length > 0) return found.slice(0, SENSORS_MAX);
  const zones = (await machine.names("/sys/class/thermal")).filter((name) => name.startsWith("thermal_zone"));
  for (const zone of zones) {
    const type = await machine.read(`/sys/class/thermal/${zone}/type`);
    if (OF_PROCESSOR.test(type?.trim() ?? "")) found.push(`/sys/class/thermal/${zone}/temp`);
  }
  return found.slice(0, SENSORS_MAX);
}

async function ofChip(machine: Machine, directory: string): Promise<string[]> {
  const inputs = (await machine.names(directory)).filter((name) => /^temp\d+_input$/.test(name));
  const sensors = await Promise.all(
    inputs.map(async (input) => {
      const label = await machine.read(`${directory}/${input.replace("_input", "_label")}`);
      return { path: `${directory}/${input}`, label: label?.trim() ?? "" };
    }),
  );
  return telling(sensors).map(({ path }) => path);
}

/** Sensors are searched again at this interval: drivers change with modules, rarely. */
const SENSORS_LAST = minutes(5);

/** The highest of all, in °C. */
export function createThermometer(machine: Machine): () => Promise<number | undefined> {
  const sensors = refreshed(() => findSensors(machine), SENSORS_LAST);
  return async () => {
    const texts = await Promise.all((await sensors()).map((path) => machine.read(path)));
    const degrees = texts.map(parseTemperature).filter((value) => value !== undefined);
    return degrees.length === 0 ? undefined : Math.max(...degrees);
  };
}
