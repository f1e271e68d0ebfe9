// Measures what this machine has and what of it projects can have, in the quantities that the server reads.
import { statfs } from "node:fs/promises";
import { availableParallelism, freemem, totalmem } from "node:os";
import { within } from "../../lib/until.ts";
import { type Duration, seconds } from "../../lib/duration.ts";
import type { Resources } from "../../protocol/caravanserai/resources.ts";
import { mebibytes, millicores } from "./quantity.ts";

/** Processors in units of one, the rest in bytes. */
export interface Amounts {
  readonly cores: number;
  readonly memory: number;
  readonly memoryFree: number;
  readonly disk: number;
  readonly diskFree: number;
}

/**
 * All processors are allocatable: nothing here is reserved, and a load passes. `free` is never more than `all`: the server
 * divides one by the other.
 */
export function asResources(amounts: Amounts): { capacity: Resources; allocatable: Resources } {
  const { cores, memory, memoryFree, disk, diskFree } = amounts;
  return {
    capacity: { cpu: millicores(cores), memory: mebibytes(memory), disk: mebibytes(disk) },
    allocatable: {
      cpu: millicores(cores),
      memory: mebibytes(Math.min(memory, memoryFree)),
      disk: mebibytes(Math.min(disk, diskFree)),
    },
  };
}

interface Disk {
  readonly disk: number;
  readonly diskFree: number;
}

/** A disk that does not answer must not hold up the heartbeat: its last numbers are told again. */
const PATIENCE: Duration = seconds(2);

export interface ResourcePorts {
  /** Where Docker keeps its data on this machine; undefined while that is not known, or elsewhere. */
  readonly dataRoot: () => string | undefined;
  readonly statfs?: (path: string) => Promise<{ bsize: number; blocks: number; bavail: number }>;
  readonly patience?: Duration;
}

/** Resolves within `patience`; rejects only while no disk has ever answered. */
export function createResources({ dataRoot, statfs: fill = statfs, patience = PATIENCE }: ResourcePorts) {
  let last: Disk | undefined;
  let asking: Promise<void> | undefined;

  /** The root of Docker's data may be hidden from an agent that is not root: the root of all then. */
  async function ask(): Promise<void> {
    const root = dataRoot() ?? "/";
    const { bsize, blocks, bavail } = await fill(root).catch(() => fill("/"));
    last = { disk: blocks * bsize, diskFree: bavail * bsize };
  }

  return async (): Promise<{ capacity: Resources; allocatable: Resources }> => {
    // One question at a time: each that hangs in the kernel holds a thread.
    asking ??= ask().finally(() => (asking = undefined));
    await within(
      asking.catch(() => {}),
      patience,
    );
    if (last === undefined) throw new Error("the disk does not answer");
    return asResources({
      cores: availableParallelism(),
      memory: totalmem(),
      // What a new program could have, caches included: MemAvailable of the kernel.
      memoryFree: freemem(),
      ...last,
    });
  };
}
export type ReadResources = ReturnType<typeof createResources>;
