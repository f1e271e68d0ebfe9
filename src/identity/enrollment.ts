// Obtains an identity, with the approval of an operator or with a bootstrap token.
//
//   initiate ──▶ pending ──▶ approved          the identity is ours
//                  │──▶ revoked                 by an operator, or by a newer enrollment of this machine
//                  │──▶ expired                 its time is over; the API answers "revoked" here too
//                  └──▶ unknown                 the server does not know the token
import { type ErrorCode, type ErrorCodeOf } from "../lib/error-codes.ts";
import { steadyNow, wallFrom } from "../lib/clock.ts";
import { AgentError, exit, messageOf, httpStatusOf } from "../lib/agent-error.ts";
import { backoff } from "../lib/backoff.ts";
import { type Duration, humanDuration, seconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import type { PublicApi } from "../control/noderax-api.ts";
import { mayPass, pauseAfter, retry } from "../control/retry.ts";
import type { Host } from "../platform/host.ts";
import { version } from "../platform/build.ts";
import type { Location } from "../protocol/noderax/location.ts";
import { ENROLLMENT_LIFE } from "../protocol/noderax/limits.ts";
import type { Identity, PendingEnrollment } from "./identity-file.ts";

export interface Waiting {
  /** Time until the token expires. */
  readonly left: Duration;
  /** Why the last poll failed; polling goes on. */
  readonly problem: string | undefined;
}

function hostInfo(host: Host) {
  const { os, arch, platformVersion, kernelVersion } = host;
  return { os, arch, agentVersion: version, platformVersion, kernelVersion };
}

/** Called with the reason when a failed try is repeated. */
export type OnProblem = (problem: string) => void;

/**
 * Starts an enrollment; the server revokes earlier ones of the same e-mail and hostname. Throws errors of
 * `Http`.
 */
export async function initiate(
  api: PublicApi,
  request: {
    readonly apiUrl: string;
    readonly email: string;
    readonly hostname: string;
    readonly host: Host;
    readonly location?: Location | undefined;
  },
  signal: AbortSignal,
  onProblem: OnProblem = () => {},
): Promise<PendingEnrollment> {
  const { apiUrl, email, hostname, host, location } = request;
  const additionalInfo = { ...hostInfo(host), ...(location === undefined ? {} : { location }) };
  const body = { email, hostname, additionalInfo };
  const { token, expiresAt } = await patiently(() => api.initiate(body, signal), signal, { onProblem });
  return { api_url: apiUrl, email, hostname, token, expires_at: expiresAt };
}

/**
 * Polls until the enrollment is decided or its token has expired. A server that cannot be reached is asked
 * again until then. `superseded` tells whether another process of this machine has begun a newer one. Throws
 * an AgentError with an `enroll.…` code.
 */
export async function awaitApproval(
  api: PublicApi,
  pending: PendingEnrollment,
  hooks: { readonly onWait: (waiting: Waiting) => void; readonly superseded: () => boolean },
  signal: AbortSignal,
): Promise<Identity> {
  const { serverClock } = api;
  const expiresAt = wallFrom(Date.parse(pending.expires_at));
  const giveUp = steadyNow() + ENROLLMENT_LIFE;
  // By the server's time, once an answer contained it; until then the longest validity of an enrollment.
  const timeLeft = (): Duration =>
    serverClock.isKnown() ? serverClock.until(expiresAt) : giveUp - steadyNow();
  let failures = 0;
  let problem: string | undefined;
  for (;;) {
    if (signal.aborted) throw interrupted();
    try {
      const state = await api.enrollmentState(pending.token, signal);
      if (state.status === "approved") return { nodeId: state.nodeId, agentToken: state.agentToken };
      if (state.status === "revoked") throw revoked(timeLeft(), hooks.superseded());
      failures = 0;
      problem = undefined;
    } catch (error) {
      if (signal.aborted) throw interrupted();
      if (httpStatusOf(error) === 404) throw unknownToken();
      // 401 and 403 are none of this route: they come from a proxy, and may pass.
      if (!mayPass(error)) throw error;
      failures++;
      problem = messageOf(error);
      const left = timeLeft();
      if (left <= 0) throw expired(problem);
      await pause(pauseAfter(error, backoff(retry.enrollment, failures, Math.random)), left);
      continue;
    }
    const left = timeLeft();
    // Polls for one more minute: the server may be busy. It answers "revoked" for expired ones.
    if (left < -seconds(60)) throw expired(undefined);
    await pause(seconds(5), Math.max(left, seconds(5)));
  }

  async function pause(length: Duration, left: Duration): Promise<void> {
    hooks.onWait({ left, problem });
    await sleep(Math.max(seconds(1), Math.min(length, left)), signal);
  }
}

/**
 * Uses a bootstrap token. Never repeats a call that may have arrived: the token may be used up, which the
 * error then says.
 */
export async function consumeBootstrapToken(
  api: PublicApi,
  token: string,
  hostname: string,
  host: Host,
  signal: AbortSignal,
  onProblem: OnProblem = () => {},
): Promise<Identity> {
  try {
    return await patiently(
      () => api.consumeInstall({ token, hostname, additionalInfo: hostInfo(host) }, signal),
      signal,
      { onProblem, codes: ["net.refused", "net.unresolved"] },
    );
  } catch (error) {
    throw bootstrapError(error, hostname);
  }
}

/**
 * Repeats a call up to `retry.initiate.tries` times if its failure may pass. Throws "enroll.throttled" at
 * once: the wait is a minute.
 */
async function patiently<T>(
  call: () => Promise<T>,
  signal: AbortSignal,
  { onProblem, codes }: { readonly onProblem: OnProblem; readonly codes?: readonly ErrorCode[] },
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof AgentError) || signal.aborted) throw error;
      if (error.status === 429) throw tooMany(error);
      const passing = codes === undefined ? mayPass(error) : codes.includes(error.code);
      const settled = error.code.startsWith("tls.") || error.code === "http.redirect";
      if (!passing || attempt >= retry.initiate.tries || settled) throw error;
      onProblem(error.message);
      await sleep(pauseAfter(error, backoff(retry.initiate, attempt, Math.random)), signal);
    }
  }
}

const AGAIN = "Start a new enrollment:  noderax-agent enroll";

const interrupted = (): AgentError =>
  new AgentError("aborted", "interrupted; the enrollment stays open", {
    hint: "Go on with it:  noderax-agent enroll",
    exit: exit.interrupted,
  });

function revoked(left: Duration, superseded: boolean): AgentError {
  if (superseded) {
    return new AgentError(
      "enroll.superseded",
      "a newer enrollment of this machine has taken the place of this one",
      {
        hint: "Go on with the newer one:  noderax-agent enroll",
        exit: exit.refused,
      },
    );
  }
  if (left <= 0) return expired(undefined);
  return new AgentError("enroll.revoked", "the enrollment was revoked", {
    hint: ["An operator revoked it, or another enrollment with this e-mail and hostname was begun.", AGAIN],
    exit: exit.refused,
  });
}

const expired = (problem: string | undefined): AgentError =>
  new AgentError("enroll.expired", "the enrollment expired before it was approved", {
    hint: problem === undefined ? AGAIN : [`The last try to ask: ${problem}`, AGAIN],
    exit: exit.refused,
  });

const unknownToken = (): AgentError =>
  new AgentError("enroll.unknown_token", "the control plane does not know this enrollment", {
    hint: ["Is api_url still the control plane it was begun with?", AGAIN],
    exit: exit.refused,
  });

const tooMany = (error: AgentError): AgentError =>
  new AgentError("enroll.throttled", "the control plane refuses more enrollment requests for now", {
    hint: `Try again in ${humanDuration(error.retryAfter ?? seconds(60))}.`,
    status: 429,
    retryAfter: error.retryAfter,
    exit: exit.unreachable,
  });

function bootstrapError(error: unknown, hostname: string): unknown {
  if (!(error instanceof AgentError)) return error;
  const refuse = (code: ErrorCodeOf<"enroll">, message: string, hint: string | string[]): AgentError =>
    new AgentError(code, message, { hint, exit: exit.refused, status: error.status });
  const newToken = "Ask for a new install command in the web UI.";
  if (error.status === 404)
    return refuse("enroll.unknown_token", "the control plane does not know this bootstrap token", newToken);
  if (error.status === 410) return refuse("enroll.expired", "the bootstrap token has expired", newToken);
  if (error.status === 409 && /hostname/i.test(error.message)) {
    return refuse("enroll.hostname_exists", `a node with the hostname ${hostname} exists already`, [
      "Delete that node in the web UI, or enroll under another name:  --hostname NAME",
      "The bootstrap token can still be used.",
    ]);
  }
  if (error.status === 409)
    return refuse("enroll.used_token", "the bootstrap token has been used already", newToken);
  if (error.code === "net.reset" || error.code === "net.timeout") {
    return new AgentError(error.code, `${error.message}; the token may have been used up`, {
      hint: `If another try says so: ${newToken}`,
      exit: exit.unreachable,
    });
  }
  return error;
}
