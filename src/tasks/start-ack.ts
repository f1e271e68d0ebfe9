// The gate: the control plane is told that a task starts, and only its 200 lets the command run here.
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

interface GatePorts {
  readonly api: TaskApi;
  readonly journal: Journal;
  readonly log: Log;
}

interface Waiting {
  readonly stop: StopRequest;
  readonly say: (note: string) => void;
}

/**
 * The start is told up to this much earlier than it is: two agents that are handed the same task in one moment, because
 * one is a copy of the other, must not tell the same millisecond.
 */
const SCATTER: Duration = milliseconds(100);

const FOREIGN =
  "another agent that uses this node's identity has started it: stop that agent, or enroll one of the two machines again";

/** True when the gate was opened: the command may run. */
export async function passGate(
  task: TaskRecord,
  { api, journal, log }: GatePorts,
  { stop, say }: Waiting,
  signal: AbortSignal,
): Promise<boolean> {
  // Until its lease is over; but a start that may have been heard is owed a completion while the server waits for one.
  let giveUp = task.claimed + retry.started.within;
  const drop = (why: string): false => {
    journal.dropped(task.id, why, wallNow());
    log.warn("tasks", `${shortId(task.id)} not run: ${why}`, { task_id: task.id });
    return false;
  };
  say("asking for the start");
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
      // Tried at least once, also when the lease ended while we were away: the server knows better than our clock.
      if (steadyNow() >= giveUp)
        return drop(`the control plane could not be reached within its lease: ${messageOf(error)}`);
      const pause = pauseAfter(error, backoff(retry.started, failures, Math.random));
      await sleep(pause, signal, stop.current() === undefined ? stop.signal : undefined);
    }
  }
}

/** Now, by the server's clock. All tries of a task tell the same time, over restarts too: by it we know our own start. */
function announce(serverClock: ServerClock, random: Random): Announced {
  const at = steadyNow();
  return { epoch: Math.round(epochOf(serverClock.at(at)) - SCATTER * random()), at };
}

/**
 * When the server's limit began. It keeps the time of the first start that it heard: any other than ours was told by
 * somebody else.
 */
export function startOf({ startedAt }: Task, { epoch, at }: Announced): SteadyTime | "foreign" {
  const told = Date.parse(startedAt ?? "");
  return Number.isNaN(told) || told === epoch ? at : "foreign";
}
