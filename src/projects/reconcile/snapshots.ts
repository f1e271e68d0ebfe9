// Shares snapshots of Docker: callers that wait at the same time get the same one, and a burst of events makes few of them.
import { type SteadyTime, steadyNow } from "../../lib/clock.ts";
import { type Duration, milliseconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";
import type { Engine, Snapshot } from "../plan/engine.ts";

/** Five snapshots a second on average, of which eight at once: a project comes up in as many rounds, and events add some. */
const PACE: Duration = milliseconds(200);
const BURST = 8;

export interface Snapshots {
  /** Resolves with a snapshot that was started after this call. Rejects as `Engine.snapshot` does. */
  fresh(): Promise<Snapshot>;
  /** The newest one; undefined before the first. */
  latest(): Snapshot | undefined;
}

export interface SnapshotSource extends Snapshots {
  /**
   * Sets the function that reduces a snapshot to our own objects (see ownership.ts). To be called in the turn in which the
   * source is created: without it every snapshot fails, so that nothing of others is taken for ours.
   */
  filterBy(own: (snapshot: Snapshot) => Snapshot): void;
  /** Calls `listener` after each snapshot that succeeded. */
  subscribe(listener: (snapshot: Snapshot) => void): void;
}

export interface SnapshotSourcePorts {
  readonly engine: Pick<Engine, "snapshot">;
  readonly pace?: Duration;
}

export function createSnapshots(
  { engine, pace = PACE }: SnapshotSourcePorts,
  signal: AbortSignal,
): SnapshotSource {
  const listeners: ((snapshot: Snapshot) => void)[] = [];
  let own: (snapshot: Snapshot) => Snapshot = () => {
    throw new Error("the snapshots have no filter");
  };
  let latest: Snapshot | undefined;
  let running: Promise<unknown> | undefined;
  let next: Promise<Snapshot> | undefined;
  /** When the last ones were started, oldest first. */
  let startedAt: SteadyTime[] = [];

  async function begin(): Promise<Snapshot> {
    await running?.catch(() => {});
    const wait = (startedAt.at(-BURST) ?? -Infinity) + BURST * pace - steadyNow();
    if (wait > 0) await sleep(wait, signal);
    signal.throwIfAborted();
    // From here on a caller needs a later snapshot than this one.
    startedAt = [...startedAt, steadyNow()].slice(-BURST);
    const snapshot = engine.snapshot(signal);
    running = snapshot;
    next = undefined;
    latest = own(await snapshot);
    for (const listener of listeners) listener(latest);
    return latest;
  }

  return {
    latest: () => latest,
    filterBy: (filter) => void (own = filter),
    subscribe: (listener) => void listeners.push(listener),
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
