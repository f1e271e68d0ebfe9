// Claiming: a long poll over the queue of one node, with the two weaknesses of the original.
//
// An abandoned request is not noticed: it polls on and takes a task that nobody receives until the lease ends.
// Read and write are two steps, so parallel claims of one node may hand out the same task.
import { internalError } from "../http/api-error.ts";
import { sleep } from "../../lib/loop.ts";
import { CLAIM_WAIT_MAX } from "../../protocol/noderax/limits.ts";
import { ROOT_PROFILES } from "../../protocol/noderax/root-access.ts";
import type { FaultInjector } from "../faults.ts";
import type { TaskRow } from "../entities.ts";
import { type Store, isoNow } from "../store.ts";
import type { Timings } from "../timings.ts";
import { desiredRootAccess, reportRootAccess } from "./nodes.ts";
import { type ApiRoute, nodeRoute } from "./route.ts";
import { wireTask } from "./tasks.ts";
import { clampedInt, isoDate, nested, oneOfField, optional, strings, textField } from "./validation.ts";

const DEFAULT_WAIT = 15_000;

const AppliedRootAccess = {
  appliedProfile: optional(oneOfField(ROOT_PROFILES)),
  lastAppliedAt: optional(isoDate()),
  lastError: optional(textField()),
};

export interface ClaimRoutePorts {
  readonly store: Store;
  readonly timings: Timings;
  readonly faults: FaultInjector;
  /** Ends every waiting claim when the server stops. */
  readonly stopping: AbortSignal;
}

export function claimRoutes(ports: ClaimRoutePorts): ApiRoute[] {
  return [
    nodeRoute(
      {
        name: "claim",
        path: "/agent/tasks/claim",
        body: {
          maxTasks: optional(clampedInt(1, 1)),
          waitMs: optional(clampedInt(0, CLAIM_WAIT_MAX)),
          capabilities: optional(strings()),
          rootAccess: optional(nested(AppliedRootAccess)),
        },
      },
      async ({ body, node }) => {
        if (body.rootAccess) reportRootAccess(ports.store, node, body.rootAccess);
        const task = await waitForTask(ports, node.id, body.waitMs ?? DEFAULT_WAIT);
        return {
          task: task ? wireTask(task) : null,
          outputTruncated: false,
          rootAccess: desiredRootAccess(ports.store.nodes.get(node.id) ?? node),
        };
      },
    ),
  ];
}

async function waitForTask(
  { store, timings, faults, stopping }: ClaimRoutePorts,
  nodeId: string,
  waitMs: number,
): Promise<TaskRow | undefined> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    const task = await take(store, timings, nodeId);
    if (task || performance.now() >= deadline || stopping.aborted) return task;
    await sleep(timings.claimStep, stopping);
    if (faults.faults.databaseDown) throw internalError();
  }
}

async function take(store: Store, timings: Timings, nodeId: string): Promise<TaskRow | undefined> {
  const now = isoNow();
  if (store.nodes.get(nodeId)?.maintenance !== false) return undefined;
  const task = store.tasks.find(
    `nodeId = ? AND cancelRequestedAt IS NULL
     AND (status = 'queued' OR (status IN ('accepted', 'claimed') AND leaseUntil <= ?)) ORDER BY createdAt, rowid`,
    nodeId,
    now,
  );
  if (!task) return undefined;
  await sleep(timings.claimRaceWindow);
  const lease = {
    status: "accepted",
    claimedBy: nodeId,
    claimToken: crypto.randomUUID(),
    leaseUntil: isoNow(timings.claimLease),
    updatedAt: isoNow(),
  } as const;
  const taken = store.tasks.update(task.id, lease, {
    sql: "status IN ('queued', 'accepted', 'claimed') AND cancelRequestedAt IS NULL",
    values: [],
  });
  return taken ? { ...task, ...lease } : undefined;
}
