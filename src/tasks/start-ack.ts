// Reports the start of a task to the control plane, whose 200 is the permission to run the command.
import { shortId } from "../lib/text.ts";
import { type SteadyTime, epochOf, isoOf, steadyNow, wallFrom, wallNow } from "../lib/clock.ts";
import { messageOf } from "../lib/agent-error.ts";
import { type Random, backoff } from "../lib/backoff.ts";
import { type Duration, milliseconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import { mayHaveArrived } from "../control/network-error.ts";
import type { TaskApi } from "../control/noderax-api.ts";
import { mayPass, pauseAfter, retry } from "../control/retry.ts";
import type { ServerClock } from "../control/server-clock.ts";
import type { Log } from "../platform/log.ts";
import { momentOf } from "../platform/moment.ts";
import { RUNNING_LIMIT } from "../protocol/noderax/limits.ts";
import { type Task, isFinal } from "../protocol/noderax/tasks.ts";
import type { Announced, Journal, TaskRecord } from "./journal.ts";
import type { StopRequest } from "./run/stop.ts";

interface StartAckPorts {
  readonly api: TaskApi;
  readonly journal: Journal;
  readonly log: Log;
}

interface StartAckControl {
  readonly stop: StopRequest;
  readonly say: (note: string) => void;
}

/**
 * The reported start is up to this much earlier than the real one, at random: two copies of an agent that receive the same
 * task at once must not report the same millisecond.
 */
const SCATTER: Duration = milliseconds(100);

const FOREIGN =
  "another agent that uses this node's identity has started it: stop that agent, or enroll one of the two machines again";

/**
 * Resolves with true when the control plane accepted the start: the command may run. With false when the task was dropped,
 * or `signal` aborted.
 */
export async function acknowledgeStart(
  task: TaskRecord,
  { api, journal, log }: StartAckPorts,
  { stop, say }: StartAckControl,
  signal: AbortSignal,
): Promise<boolean> {
  // Tried until the lease ends; a start that may have arrived is tried for as long as the server expects a completion.
  let giveUp = task.claimed + retry.started.within;
  const drop = (why: string): false => {
    journal.dropped(task.id, why, wallNow());
    log.warn("tasks", `${shortId(task.id)} not run: ${why}`, { task_id: task.id });
    return false;
  };
  say("waiting for the start ack");
  const announced = task.announced ?? announce(api.serverClock, Math.random);
  if (task.announced === undefined) journal.announced(task.id, announced);
  for (let failures = 1; ; failures++) {
    const over = stop.current();
    if (over?.reason === "server") return drop(over.text);
    try {
      const timestamp = isoOf(wallFrom(announced.epoch));
      const row = await api.started({ taskId: task.id, timestamp }, signal);
      if (isFinal(row.status)) return drop(`it is already ${row.status}`);
      const start = startOf(row, announced);
      if (start === "foreign") return drop(FOREIGN);
      journal.started(task.id, momentOf(start));
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      if (!mayPass(error)) return drop(messageOf(error));
      if (mayHaveArrived(error)) giveUp = task.claimed + RUNNING_LIMIT;
      // Checked after the first try, also when the lease ended while the agent was down: the server decides, not our clock.
      if (steadyNow() >= giveUp)
        return drop(`the control plane could not be reached within its lease: ${messageOf(error)}`);
      const pause = pauseAfter(error, backoff(retry.started, failures, Math.random));
      await sleep(pause, signal, stop.current() === undefined ? stop.signal : undefined);
    }
  }
}

/** Returns the start to report, by the server's clock. Every try reports the same time, which identifies our start. */
function announce(serverClock: ServerClock, random: Random): Announced {
  const at = steadyNow();
  return { epoch: Math.round(epochOf(serverClock.at(at)) - SCATTER * random()), at };
}

/**
 * Returns when the server's limit began, or "foreign" when another agent reported the start: the server keeps the time of
 * the first report.
 */
export function startOf({ startedAt }: Task, { epoch, at }: Announced): SteadyTime | "foreign" {
  const stored = Date.parse(startedAt ?? "");
  return Number.isNaN(stored) || stored === epoch ? at : "foreign";
}
