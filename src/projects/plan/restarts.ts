// Decides when a container that ended is started again: with a backoff, a limited number of times in each window. Pure.
import { doubled } from "../../lib/backoff.ts";
import type { Duration } from "../../lib/duration.ts";
import { retry } from "../../control/retry.ts";

export interface RestartPolicy {
  /** Restarts within `window` at most: the project has failed until the next one is due. 0: it stays so. */
  readonly limit: number;
  readonly window: Duration;
}

export type RestartDecision =
  | { readonly do: "start" }
  | { readonly do: "wait"; readonly until: number }
  /** For now; `until`: when the window has room again, undefined where there is never any. */
  | { readonly do: "give up"; readonly until: number | undefined };

/**
 * `restarts`: when we started it again, oldest first; `endedAt`: when it was seen to have ended. All of the steady clock.
 */
export function decideRestart(
  restarts: readonly number[],
  endedAt: number,
  now: number,
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

/** Whether it has lately used up its restarts, in this window or the one before. */
export const isSpent = (
  restarts: readonly number[],
  now: number,
  { limit, window }: RestartPolicy,
): boolean => limit > 0 && restarts.filter((at) => now - at < 2 * window).length >= limit;
