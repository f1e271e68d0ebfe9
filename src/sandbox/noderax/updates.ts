// Agent updates: one target a node, driven by an `agent.update` task and finished by the version the node reports.
import { conflict, internalError, notFound } from "../http/api-error.ts";
import type { NodeRow, UpdateTargetRow } from "../entities.ts";
import { type Store, isoNow } from "../store.ts";
import { type ApiRoute, nodeRoute } from "./route.ts";
import { insertTask } from "./tasks.ts";
import type { Duration } from "../../lib/duration.ts";
import type { Timings } from "../timings.ts";
import { isUuid, number, oneOfField, optional, textField } from "./validation.ts";

const ACTIVE = [
  "dispatched",
  "downloading",
  "verifying",
  "installing",
  "restarting",
  "waiting_for_reconnect",
] as const;
const isOver = ({ status }: UpdateTargetRow): boolean => !ACTIVE.some((active) => active === status);

export function updateRoutes(store: Store): ApiRoute[] {
  return [
    nodeRoute(
      {
        name: "update-progress",
        path: "/agent-updates/targets/:targetId/progress",
        body: {
          status: oneOfField([...ACTIVE, "failed"], { listed: false }),
          progressPercent: number({ integer: true, min: 0, max: 100 }),
          message: optional(textField()),
        },
      },
      ({ body, params, node }) => {
        const id = params["targetId"] ?? "";
        if (!isUuid(id)) throw internalError();
        const target = store.updateTargets.get(id);
        if (!target) throw notFound(`Agent update rollout target ${id} was not found`);
        if (target.nodeId !== node.id) {
          throw conflict("The authenticated agent cannot report progress for this rollout target.");
        }
        if (isOver(target)) return target;
        return store.updateTargets.save({
          ...target,
          status: body.status,
          progressPercent: body.progressPercent,
          message: body.message ?? null,
          updatedAt: isoNow(),
        });
      },
    ),
  ];
}

/** Dispatches an update to one node: the task the agent will claim, and the target it reports on. */
export function createUpdate(
  store: Store,
  node: NodeRow,
  { targetVersion, rollback = false }: { targetVersion: string; rollback?: boolean },
): UpdateTargetRow {
  const id = crypto.randomUUID();
  const task = insertTask(store, {
    node,
    type: "agent.update",
    payload: { targetVersion, targetId: id, rollback },
    isInternal: true,
  });
  return store.updateTargets.insert({
    id,
    nodeId: node.id,
    taskId: task.id,
    targetVersion,
    status: "dispatched",
    progressPercent: 5,
    message: null,
    updatedAt: isoNow(),
  });
}

/** How long a target may stay in a state; in every other active one for `updateStepLimit`. */
const limitOf = (status: string, timings: Timings): Duration =>
  status === "dispatched"
    ? timings.updateDispatchLimit
    : status === "waiting_for_reconnect"
      ? timings.updateReconnectLimit
      : timings.updateStepLimit;

/** Characters of a task's output that a failed target shows. */
const WHY_MAX = 240;

/** Fails the targets whose task failed, and those that make no progress. */
export function sweepUpdates(store: Store, timings: Timings): void {
  for (const target of store.updateTargets.all().filter((one) => !isOver(one))) {
    const task = store.tasks.get(target.taskId);
    const isTaskBad = task?.status === "failed" || task?.status === "cancelled";
    const isLate = target.updatedAt <= isoNow(-limitOf(target.status, timings));
    if (!isTaskBad && !isLate) continue;
    const message = isTaskBad
      ? task.output?.slice(0, WHY_MAX) || `The task was ${task.status}.`
      : `No progress while ${target.status}.`;
    store.updateTargets.update(target.id, { status: "failed", message, updatedAt: isoNow() });
  }
}

/** Nothing but the reported version completes a target; its task is then a success, whatever was sent. */
export function observeVersion(store: Store, node: NodeRow): void {
  if (node.agentVersion === null) return;
  const targets = store.updateTargets.all("nodeId = ? AND targetVersion = ?", node.id, node.agentVersion);
  for (const target of targets.filter((target) => !isOver(target))) {
    store.updateTargets.update(target.id, { status: "completed", progressPercent: 100, updatedAt: isoNow() });
    store.tasks.update(target.taskId, { status: "success", finishedAt: isoNow(), updatedAt: isoNow() });
  }
}
