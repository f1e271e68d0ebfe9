// Estimates the wall clock of the control plane from the Date headers of its answers, for times that it
// compares with its own clock. Without it, a node whose clock is 31 minutes behind would see every task ended
// as overdue.
import { type SteadyTime, type WallTime, epochOf, steadyNow, wallFrom, wallOf } from "../lib/clock.ts";
import { type Duration, milliseconds, seconds } from "../lib/duration.ts";

/** Below this difference our own clock is used: it has milliseconds, the header only seconds. */
const AGREES = seconds(5);
/** Number of answers. */
const REMEMBERED = 8;
/** A Date header is truncated to the second. */
const HALF_A_SECOND = milliseconds(500);

export interface ServerClock {
  /** Records the Date header of an answer that was just received. */
  heard(date: string | null): void;
  /** False until an answer had a Date header. */
  isKnown(): boolean;
  /** Converts to the clock of the server; by our own clock while that is not known. */
  at(moment: SteadyTime): WallTime;
  /** Returns the time left until a time of the server. Negative after it. */
  until(time: WallTime): Duration;
}

/** Creates a clock that estimates the time of the server from its Date headers. */
export function createServerClock(): ServerClock {
  /** The server's time at the zero of the steady clock, by each of the last answers. */
  let origins: number[] = [];
  const at = (moment: SteadyTime): WallTime => {
    const own = wallOf(moment);
    // A late reading makes the server's time seem earlier than it is, so the latest estimate is the best.
    const origin = Math.max(...origins);
    if (origins.length === 0) return own;
    return Math.abs(origin + moment - epochOf(own)) < AGREES ? own : wallFrom(Math.round(origin + moment));
  };
  return {
    heard(date) {
      const time = Date.parse(date ?? "");
      if (!Number.isNaN(time)) origins = [...origins, time + HALF_A_SECOND - steadyNow()].slice(-REMEMBERED);
    },
    isKnown: () => origins.length > 0,
    at,
    until: (time) => epochOf(time) - epochOf(at(steadyNow())),
  };
}
