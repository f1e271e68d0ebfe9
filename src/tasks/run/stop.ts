// Ends a task's command: the stop request, kept in the journal, and the poll of the control plane that makes it.
import { epochOf, steadyNow, wallNow } from "../../lib/clock.ts";
import { messageOf, httpStatusOf } from "../../lib/agent-error.ts";
import { type Duration, milliseconds, seconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";
import { jitter } from "../../lib/backoff.ts";
import type { TaskApi } from "../../control/noderax-api.ts";
import { signalProcess, terminate } from "../../platform/processes.ts";
import { isFinal } from "../../protocol/noderax/tasks.ts";
import type { Journal, Stop, TaskRecord } from "../journal.ts";
import type { Run } from "./directory.ts";

/** A request to end the command. Only the first reason counts. */
export interface StopRequest {
  readonly current: () => Stop | undefined;
  /** Aborts when there is a reason. */
  readonly signal: AbortSignal;
  request(reason: Stop["reason"], text: string): void;
}

/** Creates the request of a task, with the reason that the journal already holds. */
export function createStopRequest(task: TaskRecord, journal: Journal): StopRequest {
  const controller = new AbortController();
  let current = task.stop;
  if (current !== undefined) controller.abort();
  return {
    current: () => current,
    signal: controller.signal,
    request(reason, text) {
      if (current !== undefined) return;
      current = { reason, text, at: epochOf(wallNow()) };
      try {
        journal.stopping(task.id, current);
      } catch {
        // On a full disk the command is ended all the same; after a restart the control plane repeats the request.
      }
      controller.abort();
    },
  };
}

/** Every 2 s, and slower when hundreds of tasks wait, so that all of them stay below 25 requests a second. */
const pollPeriod = (tasks: number): Duration => Math.max(seconds(2), milliseconds(40) * tasks);

/**
 * Polls the control plane for the status of the task until `signal` aborts. A cancel request, a final status (the server's
 * own time limit) and 404 request a stop; a failed poll does not.
 */
export async function watchControl(
  taskId: string,
  stop: StopRequest,
  ports: { readonly api: TaskApi; readonly tasks: () => number },
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    await sleep(jitter(pollPeriod(ports.tasks()), 0.1, Math.random), signal);
    if (signal.aborted) return;
    try {
      const answer = await ports.api.control(taskId, signal);
      if (answer.cancelRequested)
        stop.request("cancel", answer.cancelReason || "cancelled by the control plane");
      else if (isFinal(answer.status))
        stop.request("server", `the control plane set the task to ${answer.status}`);
    } catch (error) {
      if (httpStatusOf(error) === 404) stop.request("server", messageOf(error));
    }
  }
}

/**
 * Ends the command: prevents it when it has not begun; else SIGTERM to all its processes, `grace`, SIGKILL. Resolves with
 * true when none is left, including those forked meanwhile; with false when some cannot be ended.
 */
export async function endRun(run: Run, grace: Duration): Promise<boolean> {
  if (!run.hasBegun() && run.prevent()) return true;
  if (run.stopsItself) return askToStop(run, grace);
  const giveUp = steadyNow() + grace + seconds(10);
  while (run.exitCode() === undefined && run.wrapperAlive() !== false) {
    if (steadyNow() > giveUp) return false;
    await terminate(() => run.members(), grace);
    await sleep(milliseconds(20));
  }
  // The command has ended; end its background processes, too.
  return terminate(() => run.members(), grace);
}

/** Pause between two checks of whether a program that stops by itself has ended: reading /proc blocks the agent. */
const STOP_POLL = milliseconds(250);

/** Sends the program SIGTERM, once. Resolves with true when it has ended; with false when it goes on after `grace`. */
async function askToStop(run: Run, grace: Duration): Promise<boolean> {
  const giveUp = steadyNow() + grace;
  const asked = new Set<number>();
  while (run.exitCode() === undefined && run.wrapperAlive() !== false) {
    if (steadyNow() > giveUp) return false;
    for (const pid of run.program()) {
      if (asked.has(pid)) continue;
      asked.add(pid);
      signalProcess(pid, "SIGTERM");
    }
    await sleep(STOP_POLL);
  }
  return run.exitCode() !== undefined || run.members().length === 0;
}
