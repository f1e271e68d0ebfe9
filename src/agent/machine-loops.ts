// The loops that belong to neither plane: memory, the state disk, updates, the reminder of control planes over plain HTTP.
import { seconds } from "../lib/duration.ts";
import { type LoopRegistry, loop } from "../lib/loop.ts";
import type { Settings } from "../config/options.ts";
import { retry } from "../control/retry.ts";
import type { DiskReserve } from "../platform/disk-reserve.ts";
import type { Log } from "../platform/log.ts";
import { boundLogFile } from "../platform/log-file.ts";
import { RECLAIM_PERIOD, createReclaim } from "../platform/reclaim.ts";
import { repeatWarnings } from "./clear-text.ts";
import { ownUpdates } from "./own-updates.ts";

export interface MachineLoopsPorts {
  readonly disk: Pick<DiskReserve, "check" | "shortage">;
  /** Removes the output of finished tasks while the disk is full; returns of how many. */
  readonly makeRoom: () => number;
  /** Frees what the database caches. */
  readonly releaseCaches: () => void;
  readonly settings: Pick<Settings, "update_allow" | "update_channel_url" | "state_file">;
  /** From `clearTextWarnings`. */
  readonly warnings: readonly string[];
  readonly registry: LoopRegistry;
  readonly log: Log;
}

/** Runs them until `signal` aborts. Never rejects. */
export async function machineLoops(ports: MachineLoopsPorts, signal: AbortSignal): Promise<void> {
  const { disk, registry, log } = ports;
  const watchDisk = loop(
    { name: "disk", every: seconds(2), retry: retry.local, bounded: true },
    async (_, report) => {
      disk.check();
      boundLogFile();
      report.note(disk.shortage() ?? "");
      const given = disk.shortage() === undefined ? 0 : ports.makeRoom();
      if (given > 0) log.warn("disk", `the kept output of ${given} finished tasks was given up`);
    },
    registry,
    signal,
  );
  const reclaim = createReclaim({ releaseCaches: ports.releaseCaches });
  // Its share of processor time is measured over the period, so the period has no spread.
  const memory = { name: "memory", every: RECLAIM_PERIOD, spread: 0, retry: retry.local };
  await Promise.all([
    watchDisk,
    loop(memory, reclaim, registry, signal),
    repeatWarnings(ports.warnings, { registry, log }, signal),
    ownUpdates(ports.settings, registry, signal),
  ]);
}
