// Decides from the records of the loops whether the agent is ready, for `/readyz`. Pure.
import type { SteadyTime } from "../lib/clock.ts";
import { type Duration, minutes, seconds } from "../lib/duration.ts";
import type { LoopRecord } from "../lib/loop.ts";

export interface LoopHealth {
  readonly name: string;
  /** Its last round succeeded. */
  readonly ok: boolean;
  /** It has failed or hung for so long that the agent is not ready. */
  readonly stale: boolean;
  /** Seconds since its last success; null before the first. */
  readonly age_seconds: number | null;
}

export interface AgentReadiness {
  readonly ready: boolean;
  readonly loops: readonly LoopHealth[];
}

/** Longer than a server or daemon takes to restart, shorter than the 90 s after which the server gives a node up. */
const FAILING: Duration = seconds(30);
/** Failures in a row from which a loop with short pauses counts: one failed round means little. */
const FAILURES = 3;
/** Twice the longest round that has a limit. */
const HANGING: Duration = minutes(5);

/** Reports names and times only: everyone may read it. `now` is on the clock of the records. */
export function readiness(records: readonly LoopRecord[], now: SteadyTime): AgentReadiness {
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
  // A long pause before the next attempt means that the loop expects the failure to last.
  const isLasting = consecutiveFailures >= FAILURES || (nextAt ?? now) - now > FAILING;
  return isLasting && now - lastSuccess > FAILING;
}

/** Rounds that last, such as listening, record their success themselves. Pauses between rounds do not count. */
function isHanging({ lastStart, lastSuccess, nextAt }: LoopRecord, now: SteadyTime): boolean {
  if (lastStart === undefined || nextAt !== undefined) return false;
  return (lastSuccess ?? 0) < lastStart && now - lastStart > HANGING;
}
