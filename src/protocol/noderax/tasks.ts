// Tasks: claimed over HTTP, one at a time, then accepted → running → success | failed | cancelled.
//
// Headers on every call: `Authorization: Bearer <agentToken>` and `x-agent-node-id`.
//
//   claim      always 200; `task: null` when there is nothing. Long-polls up to `waitMs`. An abandoned request keeps
//              polling on the server and may swallow a task until its lease (60 s) ends; parallel claims of one node
//              may hand out the same task twice. So: one in flight, and the client waits longer than the server.
//   dispatch   an event of the realtime session, off by default: a task is queued, claim it now.
//   started    the gate: run the command only after a 200. Idempotent while running, and answers the whole row —
//              whose `output` is the last log row that was stored, which is how an unanswered log call is resolved.
//   logs       one row a call; only while running. Not idempotent. A log call that overlaps `completed` may put the
//              task back to running, so never have one in flight then.
//   completed  only from running. The same outcome again is a 200 no-op, another outcome 409.
//   control    `cancelRequested` is true only while running: check `status` too, since a task that the server
//              failed or cancelled must be stopped as well.
//
// 401 on these routes also means "the database is down". 404: not a task of this node.
import * as v from "valibot";
import { AnsweredRootAccess, type AppliedRootAccess } from "./root-access.ts";

export const TASK_STATUSES = [
  "queued",
  "accepted",
  "claimed",
  "running",
  "success",
  "failed",
  "cancelled",
] as const;

/** Returns whether a task of this status is over. */
export const isFinal = (status: string): boolean =>
  status === "success" || status === "failed" || status === "cancelled";

/** A UUID on the real server. It becomes part of paths, so only characters that cannot lead elsewhere are accepted. */
const TaskId = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{1,64}$/));

/** The parts of the task row that the agent uses; the server sends more. */
export const Task = v.object({
  id: TaskId,
  type: v.string(),
  status: v.string(),
  payload: v.nullish(v.record(v.string(), v.unknown())),
  output: v.nullish(v.string()),
  startedAt: v.nullish(v.string()),
});
export type Task = v.InferOutput<typeof Task>;

/** UUIDs in either case. */
const sameId = (one: string, other: string): boolean => one.toLowerCase() === other.toLowerCase();

/** Schema of the row of one task; fails for the row of another. */
export const taskOf = (taskId: string) =>
  v.pipe(
    Task,
    v.check(({ id }) => sameId(id, taskId), "another task"),
  );

export interface ClaimRequest {
  maxTasks: 1;
  waitMs: number;
  capabilities: string[];
  rootAccess?: AppliedRootAccess;
}

export const ClaimAnswer = v.object({
  task: v.nullable(Task),
  rootAccess: AnsweredRootAccess,
});
export type ClaimAnswer = v.InferOutput<typeof ClaimAnswer>;

/**
 * The event `task.dispatch`: a task is queued. Off by default on the server; sent when the task is created, after
 * `agent.auth` and with every ping, for 50 queued tasks at most. It claims nothing: without a claim `started` is refused.
 */
export const TaskDispatch = v.object({
  task: v.object({ id: v.pipe(TaskId, v.toLowerCase()) }),
});

export interface StartedRequest {
  taskId: string;
  timestamp: string;
}

/** `stdout` and `stderr` are levels of their own; every other stream is shown as "info". */
export type LogStream = "stdout" | "stderr" | "system";

export interface LogRequest {
  taskId: string;
  stream: LogStream;
  line: string;
  timestamp: string;
}

/** The log row as the server stored it. */
export const StoredRow = v.object({ id: v.union([v.string(), v.number()]) });

/**
 * What `completed` takes. With `result` the server discards exitCode, durationMs and error: put them inside it.
 * `timeout` is stored as failed, `canceled` as cancelled. `durationMs` is a whole number.
 */
export interface CompletedRequest {
  taskId: string;
  status: "success" | "failed" | "cancelled" | "timeout";
  timestamp: string;
  result?: Record<string, unknown>;
  output?: string;
  error?: string;
  exitCode?: number | null;
  durationMs?: number;
}

export const ControlAnswer = v.object({
  taskId: v.string(),
  status: v.string(),
  cancelRequested: v.boolean(),
  cancelReason: v.nullish(v.string()),
});
export type ControlAnswer = v.InferOutput<typeof ControlAnswer>;

/** Schema of the answer about one task; fails for an answer about another. */
export const controlOf = (taskId: string) =>
  v.pipe(
    ControlAnswer,
    v.check((answer) => sameId(answer.taskId, taskId), "another task"),
  );

/** `POST /agent-updates/targets/{targetId}/progress`: what an agent may send of a roll-out's states. */
export interface UpdateProgress {
  readonly status:
    | "downloading"
    | "verifying"
    | "installing"
    | "restarting"
    | "waiting_for_reconnect"
    | "failed";
  readonly progressPercent: number;
  readonly message: string;
}

/** The target as the server has it. */
export const UpdateTargetAnswer = v.object({ id: v.string() });
