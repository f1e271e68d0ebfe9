// Computes exponential backoff with jitter, which spreads a fleet that lost its server in the same second.
import type { Duration } from "./duration.ts";

export interface Backoff {
  readonly base: Duration;
  readonly cap: Duration;
}

/** Returns a number in [0, 1). `Math.random` outside tests. */
export type Random = () => number;

/** `base · 2^(failures-1)`, at most `cap`, without jitter. 1 is the first failure; less counts as 1. */
export const doubled = ({ base, cap }: Backoff, failures: number): Duration =>
  Math.min(cap, base * 2 ** Math.min(Math.max(failures, 1) - 1, 30));

/**
 * The pause after that many failures in a row: uniform between half and the whole of `doubled`. Never zero,
 * so that a loop that pauses only here cannot spin.
 */
export function backoff(policy: Backoff, failures: number, random: Random): Duration {
  const ceiling = doubled(policy, failures);
  return ceiling / 2 + (ceiling / 2) * random();
}

/** Returns `period` ± `share`, so that the loops of a fleet do not run in step. */
export function jitter(period: Duration, share: number, random: Random): Duration {
  return period * (1 - share + 2 * share * random());
}
