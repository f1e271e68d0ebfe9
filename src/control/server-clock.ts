// The control plane's wall clock, learnt from the Date header of its answers: what it compares with its own clock must
// be told, and understood, in its time. A node that is 31 minutes behind would see every task ended as overdue.
import { type SteadyTime, type WallTime, epochOf, steadyNow, wallFrom, wallOf } from "../lib/clock.ts";
import { type Duration, milliseconds, seconds } from "../lib/duration.ts";

/** Below this difference our own clock is taken: it knows milliseconds, the header only seconds. */
const AGREES = seconds(5);
/** Answers: of some minutes, when it is quiet. */
const REMEMBERED = 8;
/** A Date header is cut to the second. */
const HALF_A_SECOND = milliseconds(500);

export interface ServerClock {
  /** Takes in the Date header of an answer that has just come. */
  heard(date: string | null): void;
  /** False until an answer has told the time. */
  isKnown(): boolean;
  /** What the server's clock showed at that moment; our own clock's time while nothing was heard. */
  at(moment: SteadyTime): WallTime;
  /** How long it is until a time that the server has told. */
  until(time: WallTime): Duration;
}

export function createServerClock(): ServerClock {
  /** What the last answers made of the server's epoch at the zero of the steady clock. */
  let origins: number[] = [];
  const at = (moment: SteadyTime): WallTime => {
    const own = wallOf(moment);
    // An answer that is read late makes the server's time earlier than it is: the latest of them is nearest to it.
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
