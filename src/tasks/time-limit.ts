// The time limit of a task: its own, or the one after which the control plane ends every task. Pure.
import type { SteadyTime } from "../lib/clock.ts";
import { type Duration, formatDuration, humanDuration, seconds } from "../lib/duration.ts";
import { RUNNING_LIMIT } from "../protocol/noderax/limits.ts";
import type { TaskRecord } from "./journal.ts";

/** Returns 20 s and the grace before the server's own limit, so that the end can still be reported. */
export const serverLimit = (
  { started, claimed }: Pick<TaskRecord, "started" | "claimed">,
  grace: Duration,
): SteadyTime => (started ?? claimed) + RUNNING_LIMIT - grace - seconds(20);

/** Returns the time at which a task is ended, and the limit in words. */
export function limitOf(
  task: Pick<TaskRecord, "started" | "claimed">,
  timeout: Duration,
  grace: Duration,
  now: SteadyTime,
): { deadline: SteadyTime; limit: string } {
  const own = now + timeout;
  const servers = serverLimit(task, grace);
  if (own <= servers) return { deadline: own, limit: `the limit is ${formatDuration(timeout)}` };
  return {
    deadline: servers,
    limit: `the control plane ends every task after ${humanDuration(RUNNING_LIMIT)}`,
  };
}
