// Finds out whether a log row that got no answer has been stored.
//
// The last row of a task can be asked for. That it is another one proves nothing while the server may still have the
// unanswered call before it: a server that stood still works off what has queued up in any order, and may answer our
// question first. So the answer "no" counts when it is given twice, with a pause between that is as long as the longest
// silence we met, and the second time the server answers within that pause.
import { type SteadyTime, steadyNow } from "../../lib/clock.ts";
import { type Duration, seconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";

export interface Clock {
  now(): SteadyTime;
  sleep(pause: Duration, signal: AbortSignal): Promise<void>;
}

export const realClock: Clock = { now: steadyNow, sleep };

/** A log call that is at work on the server is over after this: measured 3 ms, some hundred on a busy one. */
const SETTLE = seconds(1);

/**
 * `look` asks whether the row is stored; `silence` is how long the call for it, or a look, went unanswered. Throws what
 * `look` throws.
 */
export async function wasStored(
  look: () => Promise<boolean>,
  silence: Duration,
  clock: Clock,
  signal: AbortSignal,
): Promise<boolean> {
  let pause = Math.max(SETTLE, silence);
  for (let looks = 1; ; looks++) {
    const began = clock.now();
    if (await look()) return true;
    const took = clock.now() - began;
    if (looks > 1 && took <= pause) return false;
    pause = Math.max(pause, took);
    await clock.sleep(pause, signal);
  }
}
