// Task rows: creation, their form on the wire, and the operations of operators on them.
import { conflict } from "../http/api-error.ts";
import { LOG_ROWS_VISIBLE } from "../../protocol/noderax/limits.ts";
import { isFinal } from "../../protocol/noderax/tasks.ts";
import type { LogRow, NodeRow, TaskRow } from "../entities.ts";
import { type Store, isoNow } from "../store.ts";
import { checkRootGate } from "./root-gate.ts";

export interface NewTask {
  readonly node: NodeRow;
  readonly type: string;
  readonly payload?: Record<string, unknown> | undefined;
  readonly isInternal?: boolean;
}

/** The one workspace of a sandbox. */
export const WORKSPACE_ID = "00000000-0000-4000-8000-000000000001";

export function insertTask(store: Store, { node, type, payload, isInternal = false }: NewTask): TaskRow {
  const now = isoNow();
  return store.tasks.insert({
    id: crypto.randomUUID(),
    nodeId: node.id,
    type,
    isInternal,
    payload: payload ?? {},
    status: "queued",
    result: null,
    output: null,
    outputTruncated: false,
    leaseUntil: null,
    claimedBy: null,
    claimToken: null,
    startedAt: null,
    finishedAt: null,
    cancelRequestedAt: null,
    cancelReason: null,
    createdAt: now,
    updatedAt: now,
  });
}

/**
 * An operator's task. Refused in maintenance, and when it wants root the node has not applied; `unchecked` leaves
 * the root check to the agent, to see it refuse.
 */
export function createTask(store: Store, task: NewTask & { unchecked?: boolean | undefined }): TaskRow {
  if (task.node.maintenance) {
    throw conflict(`Node ${task.node.hostname} is in maintenance mode and cannot accept new work.`);
  }
  if (!task.unchecked) checkRootGate(task);
  return insertTask(store, task);
}

/** Cancels a queued task at once; a running one only gets the request, and the agent decides. */
export function cancelTask(store: Store, task: TaskRow, reason: string | undefined): TaskRow {
  if (isFinal(task.status)) throw conflict(`Task ${task.id} is already ${task.status}`);
  const now = isoNow();
  const request = { cancelRequestedAt: now, cancelReason: reason?.slice(0, 500) ?? null, updatedAt: now };
  const change: Partial<TaskRow> =
    task.status === "running" ? request : { ...request, ...NO_LEASE, status: "cancelled", finishedAt: now };
  store.tasks.update(task.id, change);
  return { ...task, ...change };
}

export const NO_LEASE = { leaseUntil: null, claimedBy: null, claimToken: null } as const;

/** In the order the server stored them; without `all`, the rows an operator gets to see. */
export function logRows(store: Store, taskId: string, { all = false } = {}): LogRow[] {
  const limit = all ? "" : ` LIMIT ${LOG_ROWS_VISIBLE}`;
  return store.logs.all(`taskId = ? ORDER BY rowid${limit}`, taskId);
}

/** The row as the agent gets it. */
export function wireTask(task: TaskRow): Record<string, unknown> {
  return { ...task, workspaceId: WORKSPACE_ID, targetTeamId: null, templateId: null, templateName: null };
}

/** A log row as the agent gets it back. */
export function wireLog(row: LogRow): Record<string, unknown> {
  return {
    id: row.id,
    taskId: row.taskId,
    level: row.level,
    message: row.line,
    timestamp: row.timestamp,
    createdAt: row.createdAt,
  };
}
