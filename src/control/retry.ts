// The table of all retries, and which failures are worth one.
import { AgentError, hasCode } from "../lib/agent-error.ts";
import type { Backoff } from "../lib/backoff.ts";
import { type Duration, milliseconds, minutes, seconds } from "../lib/duration.ts";

export interface RetryPolicy extends Backoff {
  /** Give up after this long; Infinity: never. */
  readonly within: Duration;
  /** Give up after this many tries; unlimited where it is absent. */
  readonly tries?: number;
}

/**
 * Every retry of the agent. Pauses double from `base` to `cap`; where `lib/backoff.ts` spreads them, a pause
 * is half to the whole of that, so the numbers of tries below are the least.
 */
export const retry = {
  /**
   * 1, 2, 4, 8, 15, 15 … s, for as long as the process lives: 7 tries in the minute a server takes to
   * restart.
   */
  claim: { base: seconds(1), cap: seconds(15), within: Infinity },
  /**
   * 10 s to 5 min, about 12 tries an hour: a refused identity may be accepted again when a database is
   * restored.
   */
  refused: { base: seconds(10), cap: minutes(5), within: Infinity },
  /** ¼ s to 5 s, 13 tries in 50 s: `started` must arrive before the lease (60 s from the claim) ends. */
  started: { base: milliseconds(250), cap: seconds(5), within: seconds(50) },
  /**
   * 1 s to 60 s, never given up: log rows and completions stay on disk until the server has accepted or
   * refused them.
   */
  outbox: { base: seconds(1), cap: seconds(60), within: Infinity },
  /** 1 s to 60 s: a task whose driver failed on this machine, for example on a full disk. */
  driver: { base: seconds(1), cap: seconds(60), within: Infinity },
  /** 2, 4, 8, 16, 32, 60 s: 5 tries within the 90 s after which the control plane shows a node offline. */
  heartbeat: { base: seconds(2), cap: minutes(1), within: Infinity },
  /** 1 s to 15 s after the first fast retry, spread by `realtime/pace.ts`: 7 tries in a minute. */
  session: { base: seconds(1), cap: seconds(15), within: Infinity },
  /** 1 s to 10 s, 40 tries ≈ 6 min: longer than a database takes to come back; a shell is worth the wait. */
  terminalEvent: { base: seconds(1), cap: seconds(10), within: Infinity, tries: 40 },
  /**
   * 2 min to 5 min, and at least 1 min with jitter: the server takes 100 metrics calls a minute from one
   * address.
   */
  metrics: { base: minutes(2), cap: minutes(5), within: Infinity },
  /** 1 s to 15 s: 8 tries within the 90 s after which a container node is NotReady. */
  node: { base: seconds(1), cap: seconds(15), within: Infinity },
  /** 5 min each, without jitter: a refused node name stays refused until a person changes it. */
  nodeName: { base: minutes(5), cap: minutes(5), within: Infinity },
  /** 2 s to 30 s: 1 000 nodes that ask again for their projects make about 45 calls a second. */
  assignment: { base: seconds(2), cap: seconds(30), within: Infinity },
  /** 1 s to 30 s, until the server has accepted the report or the project is in another state. */
  report: { base: seconds(1), cap: seconds(30), within: Infinity },
  /** 1 s to 15 s: an unreachable Docker is mostly being restarted, which takes a few seconds. */
  docker: { base: seconds(1), cap: seconds(15), within: Infinity },
  /**
   * 1 s to 60 s, without jitter: a container that ended is started again, within the limit of
   * `restart_limit`.
   */
  restart: { base: seconds(1), cap: seconds(60), within: Infinity },
  /** 2 s to 5 min, without jitter: a step of a project that Docker refused. */
  step: { base: seconds(2), cap: minutes(5), within: Infinity },
  /**
   * 2 s to 30 s, without jitter: a removal that Docker refused. Somebody waits for it, and such refusals pass
   * soon.
   */
  removal: { base: seconds(2), cap: seconds(30), within: Infinity },
  /** 10 s to 5 min, without jitter: an image that daemon or registry refused; registries count requests. */
  pull: { base: seconds(10), cap: minutes(5), within: Infinity },
  /** 2 s to 5 min, without jitter: a pull during which Docker became unreachable. */
  pullInterrupted: { base: seconds(2), cap: minutes(5), within: Infinity },
  /** 1 s to 30 s: an address that cannot be bound, mostly because another process still holds it. */
  bind: { base: seconds(1), cap: seconds(30), within: Infinity },
  /** 1 s to 30 s: loops that need this machine alone. */
  local: { base: seconds(1), cap: seconds(30), within: Infinity },
  /** 8 tries, 1 s doubling to 30 s ≈ 1½ min: a person may wait for it; what was downloaded is kept for the next time. */
  download: { base: seconds(1), cap: seconds(30), within: Infinity, tries: 8 },
  /** 2 s to 30 s, 24 tries ≈ 10 min: longer than a control plane waits for a node that is updated. */
  updateReport: { base: seconds(2), cap: seconds(30), within: Infinity, tries: 24 },
  /** 3 tries, 1 s and 2 s apart: a person waits for the first answer of an enrollment. */
  initiate: { base: seconds(1), cap: seconds(5), within: Infinity, tries: 3 },
  /**
   * 5 s to 30 s, 2 calls a minute in the end: 50 agents behind one address stay below its 100 calls a minute.
   */
  enrollment: { base: seconds(5), cap: seconds(30), within: Infinity },
} satisfies Record<string, RetryPolicy>;

/**
 * Before each try after the first to find the location of the node: 6 tries in 22 min, as the contract has them. The network of a
 * machine that boots may not be up yet.
 */
export const locationPauses: readonly Duration[] = [
  seconds(5),
  seconds(30),
  minutes(2),
  minutes(5),
  minutes(15),
];

/** Codes of answers that came from a captive portal, a maintenance page, or a proxy without its backend. */
const NOT_THE_SERVERS = ["http.answer", "http.foreign", "http.redirect"] as const;

/**
 * Returns whether the same request may succeed later: no answer, an answer of another program, a server
 * error, throttling, a timeout of a proxy, and 401, which on the task routes also means that the database of
 * the server is down.
 */
export function mayPass(error: unknown): boolean {
  if (!(error instanceof AgentError)) return false;
  if (hasCode(error, ...NOT_THE_SERVERS)) return true;
  if (error.status === undefined) return error.code.startsWith("net.") || error.code.startsWith("tls.");
  return error.status >= 500 || [401, 403, 408, 425, 429].includes(error.status);
}

/**
 * Returns Retry-After of the server (at most 10 min, since it may be wrong) if that is longer than our own
 * pause.
 */
export function pauseAfter(error: unknown, own: Duration): Duration {
  const asked = error instanceof AgentError ? (error.retryAfter ?? 0) : 0;
  return Math.max(own, Math.min(asked, minutes(10)));
}
