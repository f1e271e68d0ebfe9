// Whether the agent does its work, from the records of its loops: what a readiness probe asks. Pure.
import type { SteadyTime } from "../lib/clock.ts";
import { type Duration, minutes, seconds } from "../lib/duration.ts";
import type { LoopRecord } from "../lib/loop.ts";

export interface LoopHealth {
  readonly name: string;
  /** Its last round was a good one. */
  readonly ok: boolean;
  /** It has not been for so long that something must be done. */
  readonly stale: boolean;
  /** Since its last success; null before the first. */
  readonly age_seconds: number | null;
}

export interface Readiness {
  readonly ready: boolean;
  readonly loops: readonly LoopHealth[];
}

/** Longer than a server or a daemon takes to restart, shorter than the 90 s after which a node is given up. */
const FAILING: Duration = seconds(30);
/** One failed round of a slow loop is no trouble yet. */
const FAILURES = 3;
/** The longest bounded round, a call that is let run its full time among them, takes half of this. */
const HANGING: Duration = minutes(5);

/** Open to everyone, so it tells nothing but names and times. */
export function readiness(records: readonly LoopRecord[], now: SteadyTime): Readiness {
  const loops = records.map((record): LoopHealth => {
    const { name, lastSuccess, consecutiveFailures } = record;
    const stale = isFailing(record, now) || isHanging(record, now);
    const age = lastSuccess === undefined ? null : Math.max(0, Math.round((now - lastSuccess) / seconds(1)));
    return { name, ok: consecutiveFailures === 0 && !stale, stale, age_seconds: age };
  });
  return { ready: loops.every(({ stale }) => !stale), loops };
}

function isFailing({ lastSuccess, consecutiveFailures, nextAt }: LoopRecord, now: SteadyTime): boolean {
  if (consecutiveFailures === 0) return false;
  if (lastSuccess === undefined) return true;
  // A long pause before the next try means that the loop itself expects no better.
  const isLasting = consecutiveFailures >= FAILURES || (nextAt ?? now) - now > FAILING;
  return isLasting && now - lastSuccess > FAILING;
}

/** A round that stays, listening for one, says itself that all is well; a rest is as long as the loop wants it. */
function isHanging({ lastStart, lastSuccess, nextAt }: LoopRecord, now: SteadyTime): boolean {
  if (lastStart === undefined || nextAt !== undefined) return false;
  return (lastSuccess ?? 0) < lastStart && now - lastStart > HANGING;
}
