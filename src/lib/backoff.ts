// Exponential back-off with full jitter: spreads a fleet that lost its server in the same second.
import type { Duration } from "./duration.ts";

export interface Backoff {
  readonly base: Duration;
  readonly cap: Duration;
}

/** A number in [0, 1); `Math.random` outside tests. */
export type Random = () => number;

/**
 * The pause before try `attempt` (1 is the first retry): uniform between half and the whole of
 * `min(cap, base · 2^(attempt-1))`. Never zero, so a loop that only pauses here cannot spin.
 */
export function backoff({ base, cap }: Backoff, attempt: number, random: Random): Duration {
  const ceiling = Math.min(cap, base * 2 ** Math.min(Math.max(attempt, 1) - 1, 30));
  return ceiling / 2 + (ceiling / 2) * random();
}

/** `period` ± `share`: keeps periodic loops of a fleet from beating in step. */
export function jitter(period: Duration, share: number, random: Random): Duration {
  return period * (1 - share + 2 * share * random());
}
