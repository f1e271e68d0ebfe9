// When the session connects again. Pure: every number a reconnect depends on stands here.
import { type Random, backoff, doubled } from "../lib/backoff.ts";
import { type Duration, milliseconds, minutes, seconds } from "../lib/duration.ts";
import { retry } from "../control/retry.ts";

/** A session that was online for so long was a good one: the next loss is answered by a fast retry. */
const GOOD_LIFE = seconds(10);

/** One that lived so long was a healthy one: what ended it is no reason to wait ever longer. */
const HEALTHY_LIFE = seconds(2);

/** Lives in a row that were no healthy ones, after one that was online for so long; undefined: it never was. */
export function failuresAfter(failures: number, onlineFor: Duration | undefined): number {
  if (onlineFor === undefined || onlineFor < HEALTHY_LIFE) return failures + 1;
  return onlineFor >= GOOD_LIFE ? 0 : 1;
}

/** The fast retry after a good life: a blip is over, and a fleet that lost its server spreads over half a second. */
const FAST = milliseconds(500);
/** The server asked us to leave: it is stopping, or somebody took our place. */
const THROWN_OUT = { low: seconds(1), high: seconds(5) };
/** Two agents that throw each other out: a minute each way instead of a storm of alerts. */
const CONTESTED = { low: seconds(30), high: minutes(1) };
/** A wrong Retry-After must not stop us. */
const RETRY_AFTER_MAX = minutes(10);

export interface Past {
  /**
   * lost: the connection broke, or never came up; thrown out: the server ended it by a message; refused: our identity is
   * not accepted.
   */
  readonly ended: "lost" | "thrown out" | "refused";
  /** From `failuresAfter`: 0 after a good life. */
  readonly failures: number;
  readonly contested: boolean;
  /** The server's own wish. */
  readonly retryAfter?: Duration | undefined;
  /** The random share of the pause, 0–1: `realtime_backoff_jitter`. */
  readonly jitter: number;
}

export function reconnectPause(past: Past, random: Random): Duration {
  const asked = Math.min(past.retryAfter ?? 0, RETRY_AFTER_MAX);
  // Spread upwards: all of a fleet are told the same number.
  return Math.max(ownPause(past, random), asked * (1 + 0.2 * random()));
}

function ownPause({ ended, failures, contested, jitter }: Past, random: Random): Duration {
  if (contested) return between(CONTESTED, random);
  if (ended === "refused") return backoff(retry.refused, failures, random);
  const ceiling = failures === 0 ? FAST : doubled(retry.session, failures);
  const pause = ceiling * (1 - jitter + jitter * random());
  return ended === "thrown out" ? Math.max(pause, between(THROWN_OUT, random)) : pause;
}

const between = ({ low, high }: { low: Duration; high: Duration }, random: Random): Duration =>
  low + (high - low) * random();

/**
 * Whether another agent may use our identity: the server keeps one socket a node and throws the older one out. It ends a
 * socket that was silent for 45 s by the same message, and all of them when it restarts: only short lives begin a contest.
 */
export interface Contest {
  readonly contested: boolean;
  /** When we were thrown out soon after we had been let in, of the steady clock. */
  readonly thrownOut: readonly number[];
}

export const uncontested: Contest = { contested: false, thrownOut: [] };

const CONTEST_WINDOW = minutes(5);
const CONTEST_TIMES = 3;
/** The server's own time-out for silence, less what its answer and its message may take to get here. */
const SHORT_LIFE = seconds(45 - 5);

/**
 * A life that ended by the server's message, `onlineFor` after it was let in. In a contest a longer one counts, too: the
 * other agent may wait for a minute by then.
 */
export function thrownOut(contest: Contest, at: number, onlineFor: Duration): Contest {
  if (onlineFor > (contest.contested ? CONTEST_WINDOW : SHORT_LIFE)) return calmer(contest, at);
  const recent = [...contest.thrownOut, at].filter((time) => time > at - CONTEST_WINDOW);
  return { contested: contest.contested || recent.length >= CONTEST_TIMES, thrownOut: recent };
}

/** The contest is over when nothing of it lies within the window. */
export function calmer(contest: Contest, at: number): Contest {
  const recent = contest.thrownOut.filter((time) => time > at - CONTEST_WINDOW);
  return { contested: contest.contested && recent.length > 0, thrownOut: recent };
}
