// Delivers the entries of a task's queue: log rows exactly once, then the one completion.
import { shortId } from "../../lib/text.ts";
import { AgentError, messageOf, httpStatusOf } from "../../lib/agent-error.ts";
import type { Duration } from "../../lib/duration.ts";
import type { TaskApi } from "../../control/noderax-api.ts";
import type { OutboxSender, OutboxEntry } from "../../control/outbox.ts";
import { mayPass } from "../../control/retry.ts";
import type { Log } from "../../platform/log.ts";
import { type CompletedRequest, type LogRequest, isFinal } from "../../protocol/noderax/tasks.ts";
import { type Clock, realClock, wasStored } from "./was-stored.ts";
import { OUTBOX_KIND } from "./shipping.ts";

/** Answers 500 after which a row counts as refused: 8 tries take some minutes, its database does not accept the row. */
const POISON_AFTER = 8;
export interface TaskSenderPorts {
  readonly api: TaskApi;
  readonly log: Log;
  /** Called when the server has ended this task: its command must be ended, and nothing more is sent. */
  readonly onOver: (taskId: string, why: string) => void;
  /** Called when a row was refused: a note in the log must state the loss. */
  readonly onRefusedRow: (taskId: string, why: string) => void;
}

/** Returns the sender that delivers the outbox entries of tasks. */
export function taskSender(ports: TaskSenderPorts, clock = realClock): OutboxSender {
  const rows = rowSender(ports, clock);
  return (entry, signal) =>
    entry.kind === OUTBOX_KIND.completed ? deliverCompletion(entry, ports, signal) : rows(entry, signal);
}

function rowSender({ api, onOver, onRefusedRow }: TaskSenderPorts, clock: Clock): OutboxSender {
  /** By entry, the longest time that a call for the row, or a check of it, went unanswered. */
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
   * Resolves with whether the server has the row. `started` is a no-op on a running task and returns the task, whose
   * `output` is the last log line; no row equals the one before it.
   */
  function isStored(id: number, row: LogRequest, signal: AbortSignal): Promise<boolean> {
    const check = async (): Promise<boolean> => {
      const request = { taskId: row.taskId, timestamp: row.timestamp };
      const task = await measured(id, () => api.started(request, signal));
      if (isFinal(task.status)) onOver(row.taskId, `the task is already ${task.status}`);
      return isFinal(task.status) || task.output === row.line;
    };
    return wasStored(check, silences.get(id) ?? 0, clock, signal);
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
  // A log call that was still in progress when the completion arrived may have set the task back to running.
  const { status } = await api.control(taskId, signal);
  if (status === "running")
    throw new AgentError("tasks.reopened", `task ${taskId} is running again after its completion`);
}

/** Sends the completion; again without output when the server answers 400, 413 or 422, so that the task ends. */
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
