// `task.*` over the socket, which differs from HTTP: starting needs a queued task, the output is stored whole, and an
// event with the same time in milliseconds as an earlier one counts as its repetition.
import * as v from "valibot";
import { ERROR_MAX, LOG_LINE_MAX } from "../../protocol/noderax/limits.ts";
import { isFinal } from "../../protocol/noderax/tasks.ts";
import { conflict, notFound } from "../http/api-error.ts";
import { recordEvent } from "../noderax/nodes.ts";
import { NO_LEASE } from "../noderax/tasks.ts";
import { reportedOutcome } from "../noderax/transitions.ts";
import type { TaskRow } from "../entities.ts";
import { type Store, isoNow } from "../store.ts";
import { type AgentEvent, agentEvent, iso, maybe, boundedText, uuidText } from "./event.ts";
import type { Send } from "./terminals.ts";

const OUTPUT_MAX = 1_000_000;
/** Handled events that are remembered. */
const SEEN_MAX = 10_000;
const DISPATCHED_MAX = 50;
const DISPATCH_TIMEOUT = 60;

const about = <const T extends string>(type: T) => ({
  type: maybe(v.literal(type)),
  nodeId: maybe(v.string()),
  agentToken: maybe(v.string()),
  taskId: uuidText,
  timestamp: maybe(iso),
});
const whole = maybe(v.pipe(v.number(), v.integer()));
const Accepted = v.strictObject(about("task.accepted"));
const Started = v.strictObject(about("task.started"));
const Log = v.strictObject({
  ...about("task.log"),
  stream: boundedText(1, 50),
  line: boundedText(1, LOG_LINE_MAX),
});
const Completed = v.strictObject({
  ...about("task.completed"),
  status: v.picklist(["success", "failed", "cancelled", "canceled", "timeout"]),
  result: maybe(v.record(v.string(), v.unknown())),
  output: maybe(boundedText(0, OUTPUT_MAX)),
  exitCode: whole,
  error: maybe(boundedText(0, ERROR_MAX)),
  durationMs: whole,
});

export function taskEvents(store: Store): Record<string, AgentEvent> {
  const seen = new Set<string>();
  const find = (id: string, nodeId: string): TaskRow => {
    const task = store.tasks.find("id = ? AND nodeId = ?", id.toLowerCase(), nodeId);
    if (!task) throw notFound(`Task ${id} was not found for node ${nodeId}`);
    return task;
  };
  /** Runs `act` once. Marked before: an event that fails and is sent again with the same time is discarded. */
  const once = (
    event: string,
    { taskId, timestamp }: { taskId: string; timestamp?: string | undefined },
    act: () => void,
  ): object => {
    const key = `${taskId} ${event} ${timestamp}`;
    if (timestamp !== undefined && seen.has(key)) return { ok: true, duplicate: true, taskId };
    if (timestamp !== undefined) seen.add(key);
    for (const oldest of seen) {
      if (seen.size <= SEEN_MAX) break;
      seen.delete(oldest);
    }
    act();
    return { ok: true, taskId };
  };
  const append = (taskId: string, stream: string, line: string, timestamp: string | undefined): void => {
    const level = stream === "stdout" || stream === "stderr" ? stream : "info";
    const id = crypto.randomUUID();
    store.logs.insert({
      id,
      taskId,
      level,
      stream,
      line,
      timestamp: timestamp ?? null,
      createdAt: isoNow(),
    });
  };
  return {
    "task.accepted": agentEvent(Accepted, (body, nodeId) =>
      once("task.accepted", body, () =>
        append(find(body.taskId, nodeId).id, "info", "Task accepted by agent", body.timestamp),
      ),
    ),
    "task.started": agentEvent(Started, (body, nodeId) =>
      once("task.started", body, () => {
        const task = find(body.taskId, nodeId);
        if (task.status === "running") return;
        if (task.status !== "queued")
          throw conflict(`Task ${task.id} is in ${task.status} state and cannot be started`);
        const now = isoNow();
        store.tasks.update(task.id, { status: "running", startedAt: body.timestamp ?? now, updatedAt: now });
      }),
    ),
    "task.log": agentEvent(Log, (body, nodeId) =>
      once("task.log", body, () => {
        const task = find(body.taskId, nodeId);
        if (task.status === "queued" || isFinal(task.status))
          throw conflict(`Task ${task.id} is in ${task.status} state and cannot accept logs`);
        append(task.id, body.stream, body.line, body.timestamp);
        store.tasks.update(task.id, { output: body.line, updatedAt: isoNow() });
      }),
    ),
    "task.completed": agentEvent(Completed, (body, nodeId) =>
      once("task.completed", body, () => {
        const task = find(body.taskId, nodeId);
        if (isFinal(task.status))
          throw conflict(`Task ${task.id} is already ${task.status} and cannot be completed`);
        const status = reportedOutcome(body.status);
        const { exitCode, durationMs, error } = body;
        store.tasks.update(task.id, {
          ...NO_LEASE,
          status,
          result: body.result ?? { exitCode, durationMs, error },
          output: body.output ?? error ?? task.output,
          finishedAt: body.timestamp ?? isoNow(),
          updatedAt: isoNow(),
        });
        recordEvent(store, nodeId, status === "success" ? "task.completed" : `task.${status}`);
      }),
    ),
  };
}

/** The push that is off by default: every queued task, again at every ping. */
export function dispatchTasks(store: Store, send: Send, nodeId: string): void {
  const queued = "nodeId = ? AND status = 'queued' ORDER BY createdAt, rowid LIMIT ?";
  for (const { id, type, payload } of store.tasks.all(queued, nodeId, DISPATCHED_MAX)) {
    const wanted = payload?.["timeoutSeconds"];
    const timeoutSeconds = typeof wanted === "number" && wanted > 0 ? wanted : DISPATCH_TIMEOUT;
    send(nodeId, "task.dispatch", { type: "task.dispatch", task: { id, type, payload, timeoutSeconds } });
  }
}
