// Delivers the entries of a task's queue: log rows exactly once, then the one completion.
import { shortId } from "../../lib/text.ts";
import { AgentError, messageOf, httpStatusOf } from "../../lib/agent-error.ts";
import type { Duration } from "../../lib/duration.ts";
import type { TaskApi } from "../../control/noderax-api.ts";
import type { OutboxSender, OutboxEntry } from "../../control/outbox.ts";
import { mayPass } from "../../control/retry.ts";
import type { Log } from "../../platform/log.ts";
import { type CompletedRequest, type LogRequest, isFinal } from "../../protocol/noderax/tasks.ts";
import { type Clock, realClock, wasStored } from "./doubt.ts";
import { OUTBOX_KIND } from "./shipping.ts";

/** A row that the server answers with 500 this often, over some minutes, holds something its database refuses. */
const POISON_AFTER = 8;
export interface TaskSenderPorts {
  readonly api: TaskApi;
  readonly log: Log;
  /** The server says that this task is over for it: its command must be ended, nothing more be sent. */
  readonly onOver: (taskId: string, why: string) => void;
  /** A row was refused; the loss must be said. */
  readonly onRefusedRow: (taskId: string, why: string) => void;
}

export function taskSender(ports: TaskSenderPorts, clock = realClock): OutboxSender {
  const rows = rowSender(ports, clock);
  return (entry, signal) =>
    entry.kind === OUTBOX_KIND.completed ? deliverCompletion(entry, ports, signal) : rows(entry, signal);
}

function rowSender({ api, onOver, onRefusedRow }: TaskSenderPorts, clock: Clock): OutboxSender {
  /** The longest time that a call for a row, or a look for it, went unanswered. */
  const silences = new Map<number, Duration>();

  return async function deliver(entry, signal) {
    const row = JSON.parse(entry.body) as LogRequest; // our own, written by shipping.ts
    try {
      if (!(entry.doubtful && (await isStored(entry.id, row, signal))))
        await measured(entry.id, () => api.log(row, signal));
    } catch (error) {
      const status = httpStatusOf(error);
      const over = status === 404 || status === 409;
      const poison = status === 500 && entry.attempts >= POISON_AFTER;
      if (!over && ((mayPass(error) && !poison) || status === undefined)) throw error;
      if (over) onOver(row.taskId, messageOf(error));
      else onRefusedRow(row.taskId, messageOf(error));
    }
    silences.delete(entry.id);
  };

  /**
   * `started` is a no-op on a running task and answers the whole row of the task, whose `output` is the last log line;
   * and no row of ours equals the one before it.
   */
  function isStored(id: number, row: LogRequest, signal: AbortSignal): Promise<boolean> {
    const look = async (): Promise<boolean> => {
      const request = { taskId: row.taskId, timestamp: row.timestamp };
      const task = await measured(id, () => api.started(request, signal));
      if (isFinal(task.status)) onOver(row.taskId, `the task is already ${task.status}`);
      return isFinal(task.status) || task.output === row.line;
    };
    return wasStored(look, silences.get(id) ?? 0, clock, signal);
  }

  async function measured<T>(id: number, call: () => Promise<T>): Promise<T> {
    const began = clock.now();
    try {
      return await call();
    } catch (error) {
      silences.set(id, Math.max(silences.get(id) ?? 0, clock.now() - began));
      throw error;
    }
  }
}

async function deliverCompletion(
  entry: OutboxEntry,
  ports: TaskSenderPorts,
  signal: AbortSignal,
): Promise<void> {
  const { api, log } = ports;
  const completion = JSON.parse(entry.body) as CompletedRequest; // our own, written by report.ts
  const { taskId } = completion;
  try {
    await send(completion, ports, signal);
  } catch (error) {
    const status = httpStatusOf(error);
    if (status === 404 || status === 409) {
      log.warn("tasks", `${shortId(taskId)} completion refused: ${messageOf(error)}`, { task_id: taskId });
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
  { api, log }: TaskSenderPorts,
  signal: AbortSignal,
): Promise<void> {
  try {
    await api.completed(completion, signal);
  } catch (error) {
    const status = httpStatusOf(error);
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
