// Decides how long the session waits before it connects again. Pure.
import type { SteadyTime } from "../lib/clock.ts";
import { type Random, backoff, doubled } from "../lib/backoff.ts";
import { type Duration, milliseconds, minutes, seconds } from "../lib/duration.ts";
import { retry } from "../control/retry.ts";

/** After a connection this long, the next retry is fast. */
const STABLE = seconds(10);

/** A shorter connection counts as a failure, which doubles the pause. */
const SHORT = seconds(2);

/** Returns the failed connections in a row, after one that was online for `onlineFor`; undefined: it never was. */
export function failuresAfter(failures: number, onlineFor: Duration | undefined): number {
  if (onlineFor === undefined || onlineFor < SHORT) return failures + 1;
  return onlineFor >= STABLE ? 0 : 1;
}

/** The retry after a stable connection: a fleet that lost its server spreads over half a second. */
const FAST = milliseconds(500);
/** The server ended the session by a message: it is stopping, or another agent connected with our identity. */
const DISCONNECTED = { low: seconds(1), high: seconds(5) };
/** Two agents that disconnect each other: about one change a minute instead of a storm of alerts. */
const DUPLICATE = { low: seconds(30), high: minutes(1) };
/** Limits a wrong Retry-After. */
const RETRY_AFTER_MAX = minutes(10);

export interface ReconnectInput {
  /**
   * lost: the connection broke, or was never established; disconnected: the server ended it by a message; refused: the
   * server does not accept the identity.
   */
  readonly ended: "lost" | "disconnected" | "refused";
  /** From `failuresAfter`: 0 after a stable connection. */
  readonly failures: number;
  /** Another agent seems to use the same identity. */
  readonly duplicate: boolean;
  /** The pause that the server asked for. */
  readonly retryAfter?: Duration | undefined;
  /** The random share of the pause, 0–1: `realtime_backoff_jitter`. */
  readonly jitter: number;
}

/** Returns the pause before the next connection. */
export function reconnectPause(input: ReconnectInput, random: Random): Duration {
  const asked = Math.min(input.retryAfter ?? 0, RETRY_AFTER_MAX);
  // Add up to 20 %: every agent of a fleet receives the same number.
  return Math.max(ownPause(input, random), asked * (1 + 0.2 * random()));
}

function ownPause({ ended, failures, duplicate, jitter }: ReconnectInput, random: Random): Duration {
  if (duplicate) return between(DUPLICATE, random);
  if (ended === "refused") return backoff(retry.refused, failures, random);
  const ceiling = failures === 0 ? FAST : doubled(retry.session, failures);
  const pause = ceiling * (1 - jitter + jitter * random());
  return ended === "disconnected" ? Math.max(pause, between(DISCONNECTED, random)) : pause;
}

const between = ({ low, high }: { low: Duration; high: Duration }, random: Random): Duration =>
  low + (high - low) * random();

/**
 * Detects another agent with the same identity: the server keeps one socket a node and disconnects the older one. It also
 * disconnects a socket that was silent for 45 s, and all of them when it restarts: only short connections raise suspicion.
 */
export interface DuplicateDetection {
  readonly suspected: boolean;
  /** When the server disconnected us soon after `agent.auth`; steady clock. */
  readonly disconnects: readonly SteadyTime[];
}

export const NO_DUPLICATE: DuplicateDetection = { suspected: false, disconnects: [] };

const DUPLICATE_WINDOW = minutes(5);
const DUPLICATE_DISCONNECTS = 3;
/** The server's own timeout for silence is 45 s; 5 s for its answer and its message to arrive. */
const SOON = seconds(45 - 5);

/**
 * Records a disconnect by the server, `onlineFor` after `agent.auth`. While a duplicate is suspected, a longer connection
 * counts as well: the other agent may then wait for a minute.
 */
export function disconnectedByServer(
  detection: DuplicateDetection,
  at: SteadyTime,
  onlineFor: Duration,
): DuplicateDetection {
  if (onlineFor > (detection.suspected ? DUPLICATE_WINDOW : SOON)) return forgetOldDisconnects(detection, at);
  const recent = [...detection.disconnects, at].filter((time) => time > at - DUPLICATE_WINDOW);
  return { suspected: detection.suspected || recent.length >= DUPLICATE_DISCONNECTS, disconnects: recent };
}

/** Drops disconnects older than 5 min; without any, no duplicate is suspected any more. */
export function forgetOldDisconnects(detection: DuplicateDetection, at: SteadyTime): DuplicateDetection {
  const recent = detection.disconnects.filter((time) => time > at - DUPLICATE_WINDOW);
  return { suspected: detection.suspected && recent.length > 0, disconnects: recent };
}
