// Periodic work of the control plane: requeues expired leases, fails stale tasks, sets silent nodes offline.
import type { Duration } from "../../lib/duration.ts";
import type { TaskRow } from "../entities.ts";
import { type Store, isoNow } from "../store.ts";
import type { Timings } from "../timings.ts";
import { recordEvent } from "./nodes.ts";
import { NO_LEASE } from "./tasks.ts";
import { sweepUpdates } from "./updates.ts";

/** Queued tasks of nodes in maintenance are skipped. */
const NOT_IN_MAINTENANCE = "nodeId IN (SELECT id FROM nodes WHERE maintenance = 0)";

/** One round over the tasks. A task that is requeued here may be failed in the same round: age is since creation. */
function sweepTasks(store: Store, timings: Timings): void {
  const now = isoNow();
  const expired = store.tasks.all(
    `status IN ('accepted', 'claimed') AND leaseUntil <= ? AND ${NOT_IN_MAINTENANCE}`,
    now,
  );
  for (const { id } of expired) store.tasks.update(id, { ...NO_LEASE, status: "queued", updatedAt: now });
  const staleQueued = store.tasks.all(
    `status = 'queued' AND createdAt <= ? AND ${NOT_IN_MAINTENANCE}`,
    isoNow(-timings.queuedLimit),
  );
  for (const task of staleQueued) {
    fail(store, task, "Task timed out in queue before being started by an agent.");
  }
  const staleRunning = store.tasks.all(
    "status = 'running' AND startedAt <= ?",
    isoNow(-timings.runningLimit),
  );
  for (const task of staleRunning) fail(store, task, "Task timed out while running on agent.");
}

function fail(store: Store, task: TaskRow, output: string): void {
  const now = isoNow();
  store.tasks.update(task.id, {
    ...NO_LEASE,
    status: "failed",
    result: { reason: "stale-timeout", previousStatus: task.status },
    output: task.output || output,
    finishedAt: now,
    updatedAt: now,
  });
}

/** Nodes without a sign of life for too long go offline, with an event. */
function sweepNodes(store: Store, timings: Timings): void {
  const silent = store.nodes.all(
    "status = 'online' AND (lastSeenAt IS NULL OR lastSeenAt <= ?)",
    isoNow(-timings.heartbeatTimeout),
  );
  for (const { id } of silent) {
    store.nodes.update(id, { status: "offline" });
    recordEvent(store, id, "node.offline");
  }
}

/** Runs both rounds on their intervals until `stop`; `restart` applies changed timings. */
export class Sweeper {
  readonly #store: Store;
  readonly #timings: Timings;
  /** The control plane cannot sweep while its database is down. */
  readonly #paused: () => boolean;
  #timers: NodeJS.Timeout[] = [];

  constructor(store: Store, timings: Timings, paused: () => boolean) {
    this.#store = store;
    this.#timings = timings;
    this.#paused = paused;
  }

  restart(): void {
    this.stop();
    this.#timers = [
      this.#every(this.#timings.sweepInterval, () => {
        sweepTasks(this.#store, this.#timings);
        sweepUpdates(this.#store, this.#timings);
      }),
      this.#every(this.#timings.offlineCheck, () => sweepNodes(this.#store, this.#timings)),
    ];
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers = [];
  }

  #every(interval: Duration, round: () => void): NodeJS.Timeout {
    return setInterval(() => {
      if (!this.#paused()) round();
    }, interval);
  }
}
