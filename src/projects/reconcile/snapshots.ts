// Snapshots at Docker, shared: whoever asks while one is waited for gets that one, and a storm of events makes few of them.
import { type Duration, milliseconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";
import { steadyNow } from "../../lib/clock.ts";
import type { Engine, Snapshot } from "../plan/engine.ts";

/** Five snapshots a second on average; so many at once, since a project comes up in as many rounds and events come on top. */
const PACE: Duration = milliseconds(200);
const BURST = 8;

export interface Snapshots {
  /** A snapshot that began after this call. Rejects as `Engine.snapshot` does. */
  fresh(): Promise<Snapshot>;
  /** The newest there is; undefined before the first. */
  latest(): Snapshot | undefined;
}

export interface SnapshotsPorts {
  readonly engine: Pick<Engine, "snapshot">;
  /** Keeps of a snapshot what is ours: see ownership.ts. Default: all that carries our labels. */
  readonly own?: (snapshot: Snapshot) => Snapshot;
  readonly pace?: Duration;
  /** After each one that succeeded. */
  readonly onSnapshot?: (snapshot: Snapshot) => void;
}

export function createSnapshots(
  { engine, own = (snapshot) => snapshot, pace = PACE, onSnapshot }: SnapshotsPorts,
  signal: AbortSignal,
): Snapshots {
  let latest: Snapshot | undefined;
  let running: Promise<unknown> | undefined;
  let next: Promise<Snapshot> | undefined;
  let begun: number[] = [];

  async function begin(): Promise<Snapshot> {
    await running?.catch(() => {});
    const wait = (begun.at(-BURST) ?? -Infinity) + BURST * pace - steadyNow();
    if (wait > 0) await sleep(wait, signal);
    signal.throwIfAborted();
    // From here on a caller needs another snapshot than this one.
    begun = [...begun, steadyNow()].slice(-BURST);
    const snapshot = engine.snapshot(signal);
    running = snapshot;
    next = undefined;
    latest = own(await snapshot);
    onSnapshot?.(latest);
    return latest;
  }

  return {
    latest: () => latest,
    fresh() {
      if (next !== undefined) return next;
      const snapshot = begin().finally(() => {
        if (next === snapshot) next = undefined;
      });
      next = snapshot;
      return snapshot;
    },
  };
}
