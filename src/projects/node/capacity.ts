// Measures the capacity of this machine and what is free for projects, as the quantities that the server reads.
import { statfs } from "node:fs/promises";
import { availableParallelism, freemem, totalmem } from "node:os";
import { within } from "../../lib/until.ts";
import { type Duration, seconds } from "../../lib/duration.ts";
import type { Resources } from "../../protocol/caravanserai/resources.ts";
import { MIB } from "../../lib/size.ts";

/** Cores as a number, all others in bytes. */
export interface Amounts {
  readonly cores: number;
  readonly memory: number;
  readonly memoryFree: number;
  readonly disk: number;
  readonly diskFree: number;
}

/**
 * All processors are allocatable: none is reserved, and load is temporary. Allocatable is never more than capacity: the
 * server divides one by the other.
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

/** A disk that does not answer must not delay the heartbeat: its last numbers are reported again. */
const DISK_TIMEOUT: Duration = seconds(2);

export interface ResourcePorts {
  /** Directory of Docker's data on this machine; undefined while unknown, or when Docker is on another machine. */
  readonly dataRoot: () => string | undefined;
  readonly statfs?: (path: string) => Promise<{ bsize: number; blocks: number; bavail: number }>;
  /** Default 2 s. */
  readonly diskTimeout?: Duration;
}

/** Returns a function that resolves within `diskTimeout`, and rejects only when no disk has answered yet. */
export function createResources({
  dataRoot,
  statfs: fill = statfs,
  diskTimeout = DISK_TIMEOUT,
}: ResourcePorts) {
  let last: Disk | undefined;
  let asking: Promise<void> | undefined;

  /** Uses "/" where the directory of Docker's data cannot be read, as without root. */
  async function ask(): Promise<void> {
    const root = dataRoot() ?? "/";
    const { bsize, blocks, bavail } = await fill(root).catch(() => fill("/"));
    last = { disk: blocks * bsize, diskFree: bavail * bsize };
  }

  return async (): Promise<{ capacity: Resources; allocatable: Resources }> => {
    // One call at a time: each call that hangs in the kernel holds a thread.
    asking ??= ask().finally(() => (asking = undefined));
    await within(
      asking.catch(() => {}),
      diskTimeout,
    );
    if (last === undefined) throw new Error("the disk does not answer");
    return asResources({
      cores: availableParallelism(),
      memory: totalmem(),
      // The kernel's MemAvailable: what a new program could use, caches included.
      memoryFree: freemem(),
      ...last,
    });
  };
}
export type ReadResources = ReturnType<typeof createResources>;

/** Thousandths of a processor. */
export const millicores = (cores: number): string => `${whole(cores * 1_000)}m`;

/** Always in mebibytes: in Gi, a tenth of a small disk would be 0. */
export const mebibytes = (bytes: number): string => `${whole(bytes / MIB)}Mi`;

/** Rounded down, so never more than there is; 0 for what is not a finite number. */
const whole = (amount: number): number => (Number.isFinite(amount) ? Math.max(0, Math.floor(amount)) : 0);
