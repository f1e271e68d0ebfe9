// Finds out whether the server has stored a log row whose call was not answered.
//
// The server returns the last row of a task on request. Another row proves nothing while the unanswered call may still be
// queued there: a server that was blocked works off its queue in any order, and may answer the request first. So "not
// stored" counts when it is answered twice, with a pause as long as the longest unanswered call between, and the second
// answer arrives within that pause.
import { type SteadyTime, steadyNow } from "../../lib/clock.ts";
import { type Duration, seconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";

export interface Clock {
  now(): SteadyTime;
  sleep(pause: Duration, signal: AbortSignal): Promise<void>;
}

export const realClock: Clock = { now: steadyNow, sleep };

/** A log call in progress on the server ends within this time: 3 ms measured, some 100 ms on a busy server. */
const SETTLE = seconds(1);

/**
 * Resolves with whether the row is stored. `check` asks the server once; `silence` is how long the call for the row, or a
 * check, went unanswered. Throws what `check` throws.
 */
export async function wasStored(
  check: () => Promise<boolean>,
  silence: Duration,
  clock: Clock,
  signal: AbortSignal,
): Promise<boolean> {
  let pause = Math.max(SETTLE, silence);
  for (let checks = 1; ; checks++) {
    const began = clock.now();
    if (await check()) return true;
    const took = clock.now() - began;
    if (checks > 1 && took <= pause) return false;
    pause = Math.max(pause, took);
    await clock.sleep(pause, signal);
  }
}
