// When a container that ended is started again: 1 s doubling to 60 s, a few times in ten minutes, then no more.
import { type Duration, minutes, seconds } from "../lib/duration.ts";

export interface RestartPolicy {
  /** Restarts within `window` before the project has failed. */
  readonly limit: number;
  readonly window: Duration;
}

const BASE = seconds(1);
const CAP = seconds(60);
/** Running for this long without an end makes everything before it forgotten. */
const QUIET = minutes(10);

export type RestartDecision =
  | { readonly do: "start" }
  | { readonly do: "wait"; readonly until: number }
  | { readonly do: "give up"; readonly after: number };

/**
 * `restarts`: when we started it again, oldest first; `endedAt`: when it was seen to have ended. All of the steady clock.
 */
export function decideRestart(
  restarts: readonly number[],
  endedAt: number,
  now: number,
  { limit, window }: RestartPolicy,
): RestartDecision {
  const recent = sinceQuiet(restarts, endedAt).filter((at) => now - at < window);
  if (recent.length >= limit) return { do: "give up", after: recent.length };
  const pause = Math.min(CAP, BASE * 2 ** recent.length);
  const until = endedAt + pause;
  return now >= until ? { do: "start" } : { do: "wait", until };
}

/** The restarts since it last ran quietly. */
function sinceQuiet(restarts: readonly number[], endedAt: number): readonly number[] {
  let from = 0;
  restarts.forEach((at, index) => {
    const end = restarts[index + 1] ?? endedAt;
    if (end - at >= QUIET) from = index + 1;
  });
  return restarts.slice(from);
}
