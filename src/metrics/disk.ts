// Measures the fullest disk. A disk that does not answer blocks one thread, and keeps its last value.
import { within } from "../lib/until.ts";
import { type Duration, seconds } from "../lib/duration.ts";
import { type Filesystem, type Machine, percent } from "./machine.ts";

export interface DiskReading {
  /** Percent, with `df`'s arithmetic: blocks reserved for root count as neither used nor available. */
  readonly usage: number;
  readonly mount: string;
  readonly totalBytes: number;
  readonly usedBytes: number;
  /** The mount that has not answered yet. */
  readonly stuck?: string;
}

/** Returns the used part of a file system in percent, as df computes it; undefined for one without blocks. */
export function diskUsage({ blocks, free, available }: Filesystem): number | undefined {
  return percent(blocks - free, blocks - free + available);
}

/** The highest of them; of equals the first, which is "/" if it is among them. Undefined when none is known. */
export function fullest(disks: Iterable<readonly [string, Filesystem]>): DiskReading | undefined {
  let worst: DiskReading | undefined;
  for (const [mount, disk] of disks) {
    const usage = diskUsage(disk);
    if (usage === undefined || (worst !== undefined && usage <= worst.usage)) continue;
    const usedBytes = (disk.blocks - disk.free) * disk.blockSize;
    worst = { usage, mount, totalBytes: disk.blocks * disk.blockSize, usedBytes };
  }
  return worst;
}

/** `mountPoints` is called at every reading. A disk gets `timeout` to answer. */
export function createDiskMeter(
  machine: Machine,
  mountPoints: () => Promise<readonly string[]>,
  timeout: Duration = seconds(2),
): () => Promise<DiskReading | undefined> {
  let known = new Map<string, Filesystem>();
  let asking: string | undefined;
  let survey: Promise<void> | undefined;

  /** One after the other: a failing disk blocks its thread in the kernel, and the pool has few. */
  async function ask(points: readonly string[]): Promise<void> {
    for (const point of points) {
      asking = point;
      const disk = await machine.filesystem(point);
      if (disk === undefined) known.delete(point);
      else known.set(point, disk);
    }
    asking = undefined;
  }

  return async () => {
    const points = await mountPoints();
    if (survey === undefined) {
      survey = ask(points).finally(() => (survey = undefined));
      await within(survey, timeout);
    }
    // In the order of the mounts, without those that are not mounted any more.
    known = new Map(points.flatMap((point) => entry(point, known.get(point))));
    const worst = fullest(known);
    return worst === undefined || asking === undefined ? worst : { ...worst, stuck: asking };
  };
}

const entry = <T>(key: string, value: T | undefined): [string, T][] =>
  value === undefined ? [] : [[key, value]];
