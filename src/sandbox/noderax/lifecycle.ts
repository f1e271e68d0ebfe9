// The calls of a claimed task: accepted, started, logs, completed, control.
import { shortId } from "../../lib/text.ts";
import { badRequest, conflict, internalError, notFound } from "../http/api-error.ts";
import type { Log } from "../../platform/log.ts";
import { sleep } from "../../lib/loop.ts";
import { ERROR_MAX, LOG_LINE_MAX, OUTPUT_KEPT, OUTPUT_REFUSED_ABOVE } from "../../protocol/noderax/limits.ts";
import type { LogRow, NodeRow, TaskRow } from "../entities.ts";
import { type Store, isoNow } from "../store.ts";
import type { Timings } from "../timings.ts";
import { type Params, type ApiRoute, nodeRoute } from "./route.ts";
import { NO_LEASE, wireLog, wireTask } from "./tasks.ts";
import {
  type TransitionDecision,
  decideAccepted,
  decideCompleted,
  decideLogs,
  decideStarted,
  reportedOutcome,
} from "./transitions.ts";
import {
  type Values,
  anyObject,
  isUuid,
  isoDate,
  number,
  oneOfField,
  optional,
  textField,
  uuidField,
} from "./validation.ts";

const Step = { taskId: optional(uuidField()), timestamp: optional(isoDate()) };
const Log = {
  ...Step,
  stream: textField({ min: 1, max: 50 }),
  line: textField({ min: 1, max: LOG_LINE_MAX }),
};
const Completed = {
  ...Step,
  status: oneOfField(["success", "failed", "cancelled", "canceled", "timeout"]),
  result: optional(anyObject()),
  output: optional(textField({ max: OUTPUT_REFUSED_ABOVE })),
  error: optional(textField({ max: ERROR_MAX })),
  exitCode: optional(number({ integer: true })),
  durationMs: optional(number({ integer: true })),
};

export function lifecycleRoutes(store: Store, timings: Timings, log: Log): ApiRoute[] {
  const find = (params: Params, node: NodeRow, body: { taskId?: string | undefined } = {}): TaskRow =>
    findForNode(store, params["taskId"] ?? "", node, body.taskId);
  return [
    nodeRoute(
      { name: "accepted", path: "/agent/tasks/:taskId/accepted", body: Step },
      ({ body, params, node }) => {
        const task = find(params, node, body);
        permit(decideAccepted(task));
        return { ok: true, duplicate: true, taskId: task.id };
      },
    ),
    nodeRoute(
      { name: "started", path: "/agent/tasks/:taskId/started", body: Step },
      ({ body, params, node }) => {
        const task = start(store, find(params, node, body), node, body.timestamp);
        log.info("sandbox", `${shortId(task.id)} started on ${node.name}`);
        return wireTask(task);
      },
    ),
    nodeRoute(
      { name: "logs", path: "/agent/tasks/:taskId/logs", body: Log },
      async ({ body, params, node }) =>
        wireLog(await appendLog(store, timings, find(params, node, body), body)),
    ),
    nodeRoute(
      { name: "completed", path: "/agent/tasks/:taskId/completed", body: Completed },
      ({ body, params, node }) => {
        const task = complete(store, find(params, node, body), body);
        log.info("sandbox", `${shortId(task.id)} ended on ${node.name}: ${task.status}`);
        return wireTask(task);
      },
    ),
    nodeRoute(
      { name: "control", method: "GET", path: "/agent/tasks/:taskId/control", body: {} },
      ({ params, node }) => {
        const { id, status, cancelRequestedAt, cancelReason } = find(params, node);
        const cancelRequested = status === "running" && cancelRequestedAt !== null;
        return { taskId: id, status, cancelRequested, cancelRequestedAt, cancelReason };
      },
    ),
  ];
}

function findForNode(store: Store, id: string, node: NodeRow, named: string | undefined): TaskRow {
  if (named !== undefined && named.toLowerCase() !== id.toLowerCase()) {
    throw badRequest("taskId in request body must match route parameter");
  }
  // The database refuses to compare its uuid column with anything else.
  if (!isUuid(id)) throw internalError();
  const task = store.tasks.find("id = ? AND nodeId = ?", id.toLowerCase(), node.id);
  if (!task) throw notFound(`Task ${id} was not found for node ${node.id}`);
  return task;
}

/** True when the call is to be carried out, false when it changes nothing; throws the 409. */
function permit(decision: TransitionDecision): boolean {
  if (decision.kind === "conflict") throw conflict(decision.message);
  return decision.kind === "apply";
}

function start(store: Store, task: TaskRow, node: NodeRow, timestamp: string | undefined): TaskRow {
  const now = isoNow();
  if (!permit(decideStarted(task, node.id, now))) return task;
  const change = { ...NO_LEASE, status: "running", startedAt: timestamp ?? now, updatedAt: now } as const;
  const held = store.tasks.update(task.id, change, {
    sql: "status = 'accepted' AND claimToken IS ?",
    values: [task.claimToken],
  });
  if (!held) throw conflict(`Task ${task.id} claim ownership was lost before start`);
  return { ...task, ...change };
}

/** Has the race of the original: the task is read, then written back whole, which overwrites changes in between. */
async function appendLog(
  store: Store,
  timings: Timings,
  task: TaskRow,
  body: Values<typeof Log>,
): Promise<LogRow> {
  permit(decideLogs(task));
  const row = store.logs.insert({
    id: crypto.randomUUID(),
    taskId: task.id,
    level: body.stream === "stdout" || body.stream === "stderr" ? body.stream : "info",
    stream: body.stream,
    line: body.line,
    timestamp: body.timestamp ?? null,
    createdAt: isoNow(),
  });
  await sleep(timings.logRaceWindow);
  store.tasks.save({ ...task, output: body.line, updatedAt: isoNow() });
  return row;
}

function complete(store: Store, task: TaskRow, body: Values<typeof Completed>): TaskRow {
  if (!permit(decideCompleted(task, body.status))) return task;
  const now = isoNow();
  const output = body.output ?? body.error ?? task.output;
  const completed: TaskRow = {
    ...task,
    ...NO_LEASE,
    status: reportedOutcome(body.status),
    result: body.result ?? builtResult(body),
    output: output?.slice(0, OUTPUT_KEPT) ?? null,
    outputTruncated: (output?.length ?? 0) > OUTPUT_KEPT,
    finishedAt: body.timestamp ?? now,
    updatedAt: now,
  };
  store.tasks.save(completed);
  // Half of a surrogate pair at the end trips the original after it has stored the outcome; a retry answers 200.
  if (completed.output?.isWellFormed() === false) throw internalError();
  return completed;
}

/** Returns the result of a completion without `result`; null when it has no fields for one. */
function builtResult(body: Values<typeof Completed>): Record<string, unknown> | null {
  const parts = Object.entries({
    exitCode: body.exitCode,
    durationMs: body.durationMs,
    completedAt: body.timestamp,
    error: body.error,
    reason: body.status === "timeout" ? "timeout" : undefined,
  }).filter(([, value]) => value !== undefined);
  return parts.length === 0 ? null : Object.fromEntries(parts);
}
