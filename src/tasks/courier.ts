// Delivers the parcels of a task's lane: log rows exactly once, then the one completion.
import { AgentError, messageOf } from "../lib/agent-error.ts";
import { seconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import type { TaskApi } from "../control/noderax-api.ts";
import type { Courier, Parcel } from "../control/outbox.ts";
import { mayPass } from "../control/retry.ts";
import type { Log } from "../platform/log.ts";
import { type CompletedRequest, type LogRequest, isFinal } from "../protocol/noderax/tasks.ts";
import { PARCEL } from "./shipping.ts";

/** A row that the server answers with 500 this often, over some minutes, holds something its database refuses. */
const POISON_AFTER = 8;
/** A log call that got no answer may still be at work on the server; a completion must not overtake it. */
const SETTLE = seconds(1);

export interface CourierPorts {
  readonly api: TaskApi;
  readonly log: Log;
  /** The server says that this task is over for it: its command must be ended, nothing more be sent. */
  readonly onOver: (taskId: string, why: string) => void;
  /** A row was refused; the loss must be said. */
  readonly onRefusedRow: (taskId: string, why: string) => void;
}

export function taskCourier(ports: CourierPorts): Courier {
  return (parcel, signal) =>
    parcel.kind === PARCEL.completed
      ? deliverCompletion(parcel, ports, signal)
      : deliverRow(parcel, ports, signal);
}

async function deliverRow(parcel: Parcel, ports: CourierPorts, signal: AbortSignal): Promise<void> {
  const { api, onOver, onRefusedRow } = ports;
  const row = JSON.parse(parcel.body) as LogRequest; // our own, written by shipping.ts
  try {
    if (parcel.doubtful && (await alreadyStored(row, ports, signal))) return;
    await api.log(row, signal);
  } catch (error) {
    const status = error instanceof AgentError ? error.status : undefined;
    if (status === 404 || status === 409) return onOver(row.taskId, messageOf(error));
    const poison = status === 500 && parcel.attempts >= POISON_AFTER;
    if (mayPass(error) && !poison) throw error;
    if (status === undefined) throw error;
    onRefusedRow(row.taskId, messageOf(error));
  }
}

/**
 * Whether a row that got no answer has arrived. `started` is a no-op on a running task and answers the whole row of
 * the task, whose `output` is the last log line; and no row of ours equals the one before it.
 */
async function alreadyStored(
  row: LogRequest,
  { api, onOver }: CourierPorts,
  signal: AbortSignal,
): Promise<boolean> {
  await sleep(SETTLE, signal);
  const task = await api.started({ taskId: row.taskId, timestamp: row.timestamp }, signal);
  if (isFinal(task.status)) {
    onOver(row.taskId, `the task is already ${task.status}`);
    return true;
  }
  return task.output === row.line;
}

async function deliverCompletion(parcel: Parcel, ports: CourierPorts, signal: AbortSignal): Promise<void> {
  const { api, log } = ports;
  const completion = JSON.parse(parcel.body) as CompletedRequest; // our own, written by report.ts
  const { taskId } = completion;
  try {
    await send(completion, ports, signal);
  } catch (error) {
    const status = error instanceof AgentError ? error.status : undefined;
    if (status === 404 || status === 409) {
      log.warn("tasks", `${taskId.slice(0, 8)} completion refused: ${messageOf(error)}`, { task_id: taskId });
      return;
    }
    throw error;
  }
  // A log call of ours that was still at work when the completion came would have put the task back to running.
  const { status } = await api.control(taskId, signal);
  if (status === "running")
    throw new AgentError("tasks.reopened", `task ${taskId} is running again after its completion`);
}

/** With everything; when the server finds fault with it (400, 413), with the bare result: the task must not hang. */
async function send(
  completion: CompletedRequest,
  { api, log }: CourierPorts,
  signal: AbortSignal,
): Promise<void> {
  try {
    await api.completed(completion, signal);
  } catch (error) {
    const status = error instanceof AgentError ? error.status : undefined;
    if (status !== 400 && status !== 413 && status !== 422) throw error;
    log.warn("tasks", `completion refused, sent without output: ${messageOf(error)}`, {
      task_id: completion.taskId,
    });
    const { taskId, timestamp, exitCode } = completion;
    const outcome = completion.status;
    await api.completed(
      { taskId, status: outcome, timestamp, ...(exitCode == null ? {} : { exitCode }) },
      signal,
    );
  }
}
