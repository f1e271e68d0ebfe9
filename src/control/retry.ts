// The retry policy, as one table: which calls are repeated, how fast, for how long.
import { AgentError } from "../lib/agent-error.ts";
import type { Backoff } from "../lib/backoff.ts";
import { type Duration, milliseconds, minutes, seconds } from "../lib/duration.ts";

export interface RetryPolicy extends Backoff {
  /** Give up after this long; Infinity never does. */
  readonly within: Duration;
  /** Give up after so many tries; unlimited where it is absent. */
  readonly tries?: number;
}

export const retry = {
  /** The claim loop lives as long as the process: 1 s doubling to 15 s. */
  claim: { base: seconds(1), cap: seconds(15), within: Infinity },
  /** A refused identity is asked for again, but rarely: it may come back when a database is restored. */
  refused: { base: seconds(10), cap: minutes(5), within: Infinity },
  /** `started` must be in before the lease (60 s from the claim) ends: ¼ s doubling to 5 s, for 50 s. */
  started: { base: milliseconds(250), cap: seconds(5), within: seconds(50) },
  /** Log rows and completions stay on disk until the server has taken or refused them: 1 s doubling to 60 s. */
  outbox: { base: seconds(1), cap: seconds(60), within: Infinity },
  /** A task whose driver failed on this machine (a full disk): 1 s doubling to 60 s. */
  driver: { base: seconds(1), cap: seconds(60), within: Infinity },
  /** A node is shown offline 90 s after its last heartbeat; 2 s doubling to 60 s tries some times before that. */
  heartbeat: { base: seconds(2), cap: minutes(1), within: Infinity },
  /** The realtime session, after the first fast retry: 1 s doubling to 15 s, as `realtime/pace.ts` spreads it. */
  session: { base: seconds(1), cap: seconds(15), within: Infinity },
  /** Metrics over HTTP, throttled as the heartbeat is: 2 min doubling to 5; never sooner than a minute, by the halving. */
  metrics: { base: minutes(2), cap: minutes(5), within: Infinity },
  /** A container node is NotReady 90 s after its last heartbeat: 1 s doubling to 15 s tries often before that. */
  node: { base: seconds(1), cap: seconds(15), within: Infinity },
  /** The server's list of projects, which 1 000 nodes may ask for again when it is back: 2 s doubling to 30 s. */
  assignment: { base: seconds(2), cap: seconds(30), within: Infinity },
  /** What the server is told of a project, until it took it or the project is in another state: 1 s doubling to 30 s. */
  report: { base: seconds(1), cap: seconds(30), within: Infinity },
  /** A Docker that is away is mostly being restarted: 1 s doubling to 15 s. */
  docker: { base: seconds(1), cap: seconds(15), within: Infinity },
  /** Somebody waits for the first answer of an enrollment: 3 tries, 1 s and 2 s apart. */
  initiate: { base: seconds(1), cap: seconds(5), within: Infinity, tries: 3 },
  /** Enrollment polls are throttled (100 a minute for all agents behind one address): 5 s doubling to 30 s. */
  enrollment: { base: seconds(5), cap: seconds(30), within: Infinity },
} satisfies Record<string, RetryPolicy>;

/** Codes of answers that were not the server's: a captive portal, a maintenance page, a proxy without its backend. */
const NOT_THE_SERVERS = ["http.answer", "http.foreign", "http.redirect"];

/**
 * Whether the same request may succeed later: no answer, an answer of somebody else, a server error, throttling, a
 * time-out at a proxy — and 401, which on the task routes also means that the server's database is down.
 */
export function mayPass(error: unknown): boolean {
  if (!(error instanceof AgentError)) return false;
  if (NOT_THE_SERVERS.includes(error.code)) return true;
  if (error.status === undefined) return error.code.startsWith("net.") || error.code.startsWith("tls.");
  return error.status >= 500 || [401, 403, 408, 425, 429].includes(error.status);
}

/** The server's own wish, where it is longer than ours. At most ten minutes: a wrong header must not stop us. */
export function pauseAfter(error: unknown, own: Duration): Duration {
  const asked = error instanceof AgentError ? (error.retryAfter ?? 0) : 0;
  return Math.max(own, Math.min(asked, minutes(10)));
}
