// Decides when a container that ended is started again: with a backoff, a limited number of times in each window. Pure.
import type { SteadyTime } from "../../lib/clock.ts";
import { doubled } from "../../lib/backoff.ts";
import type { Duration } from "../../lib/duration.ts";
import { retry } from "../../control/retry.ts";

export interface RestartPolicy {
  /** Most restarts within `window`; after that the project has failed until the next one is due. 0: no restarts. */
  readonly limit: number;
  readonly window: Duration;
}

export type RestartDecision =
  | { readonly do: "start" }
  | { readonly do: "wait"; readonly until: SteadyTime }
  /** `until`: when the window allows another restart; undefined: never. */
  | { readonly do: "give up"; readonly until: SteadyTime | undefined };

/** `restarts`: the times of earlier restarts, oldest first; `endedAt`: when a snapshot first showed that it ended. */
export function decideRestart(
  restarts: readonly SteadyTime[],
  endedAt: SteadyTime,
  now: SteadyTime,
  { limit, window }: RestartPolicy,
): RestartDecision {
  const recent = restarts.filter((at) => now - at < window);
  if (recent.length >= limit) {
    const oldest = recent[recent.length - limit];
    return { do: "give up", until: oldest === undefined ? undefined : oldest + window };
  }
  const until = endedAt + doubled(retry.restart, recent.length + 1);
  return now >= until ? { do: "start" } : { do: "wait", until };
}

/** Whether it used up its restarts in this window or the one before. */
export const isSpent = (
  restarts: readonly SteadyTime[],
  now: SteadyTime,
  { limit, window }: RestartPolicy,
): boolean => limit > 0 && restarts.filter((at) => now - at < 2 * window).length >= limit;
