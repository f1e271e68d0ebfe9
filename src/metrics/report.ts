// Sends samples to the control plane: over the realtime session while it is online, else about once a minute over HTTP.
//
//   session online   ──▶ a sample at once, then every `metrics_interval`, each waiting for its ack
//   no session       ──▶ a sample a minute by POST /agent/metrics; the wait for it ends when the session is online
//
// A sample is taken when it is sent: nothing is queued, and a sample that could not be sent is dropped.
import { AgentError, messageOf, hasCode } from "../lib/agent-error.ts";
import { type Random, backoff, jitter } from "../lib/backoff.ts";
import { type Duration, minutes, seconds } from "../lib/duration.ts";
import { type LoopRegistry, type LoopReport, loop, sleep } from "../lib/loop.ts";
import type { PublicApi } from "../control/noderax-api.ts";
import { mayPass, pauseAfter, retry } from "../control/retry.ts";
import { version } from "../platform/build.ts";
import type { Log } from "../platform/log.ts";
import { steadyNow } from "../lib/clock.ts";
import {
  Ack,
  type MetricsEvent,
  type MetricsRequest,
  type MetricsSample,
} from "../protocol/noderax/realtime.ts";
import type { Channel } from "../realtime/channel.ts";
import type { Sampler } from "./sampler.ts";

export interface MetricsPorts {
  /** Undefined where the realtime session is switched off. */
  readonly channel: Pick<Channel, "online" | "whenOnline" | "request"> | undefined;
  readonly api: Pick<PublicApi, "metrics">;
  readonly identity: { readonly nodeId: string; readonly agentToken: string };
  readonly sampler: Sampler;
  readonly registry: LoopRegistry;
  readonly log: Log;
}

/** The waits of the loop; shorter in tests. */
export interface MetricsPace {
  /** Between two samples over HTTP: the throttle allows 100 a minute to all agents behind one address. */
  readonly http: Duration;
  /** Wait for the session before the first sample is sent over HTTP. */
  readonly sessionGrace: Duration;
  /** Minimum between samples: a shorter interval mostly measures the agent. */
  readonly shortest: Duration;
  readonly random: Random;
}
const PACE: MetricsPace = {
  http: minutes(1),
  sessionGrace: seconds(15),
  shortest: seconds(1),
  random: Math.random,
};

/** Pause after a failed send, so that an unstable session does not make the loop spin. */
const RETRY_PAUSE = seconds(1);

/** Runs until `signal` aborts; never rejects. */
export function metricsLoop(
  ports: MetricsPorts,
  interval: Duration,
  signal: AbortSignal,
  pace: MetricsPace = PACE,
): Promise<void> {
  const { channel, identity, sampler, registry, log } = ports;
  const every = Math.max(interval, pace.shortest);
  const httpEvery = Math.max(every, pace.http);
  // Spread the first samples of a fleet that starts in the same second.
  let httpDue = steadyNow() + (channel === undefined ? 0 : pace.sessionGrace * (1 + pace.random()));
  let httpFailures = 0;
  let complained = false;

  return loop(
    { name: "metrics", every, retry: retry.metrics, onError, random: pace.random },
    round,
    registry,
    signal,
  );

  async function round(roundSignal: AbortSignal, report: LoopReport): Promise<Duration | void> {
    let httpsTurn = false;
    if (channel?.online() !== true) {
      report.note(channel === undefined ? "over HTTP" : "no realtime session, over HTTP");
      report.waitsUntil(Math.max(httpDue, steadyNow()));
      httpsTurn = (await onlineOr(httpDue, roundSignal)) === "due";
      report.waitsUntil(undefined);
      if (roundSignal.aborted) return 0;
    }
    const sample = await sampler.sample(roundSignal);
    if (roundSignal.aborted) return 0;
    if (channel?.online() === true) {
      await sendOverSession(channel, sample);
      report.note("over the realtime session");
      accepted();
      return undefined;
    }
    // The session may have ended while the sample was taken.
    if (!httpsTurn) return RETRY_PAUSE;
    await sendOverHttp(sample, roundSignal);
    accepted();
    return 0; // The next round waits for the session, or until HTTP is due.
  }

  /** Waits for the session and for `due`, whichever comes first; `signal` ends it too. */
  async function onlineOr(due: Duration, signal: AbortSignal): Promise<"online" | "due"> {
    const over = new AbortController();
    const end = (): void => over.abort();
    signal.addEventListener("abort", end, { once: true });
    const timer = sleep(Math.max(0, due - steadyNow()), over.signal).then(() => "due" as const);
    const online = channel?.whenOnline(over.signal).then(() => "online" as const);
    const first = await Promise.race(online === undefined ? [timer] : [online, timer]);
    end();
    signal.removeEventListener("abort", end);
    return first;
  }

  async function sendOverSession(session: NonNullable<typeof channel>, sample: MetricsSample): Promise<void> {
    const event: MetricsEvent = {
      type: "agent.metrics",
      nodeId: identity.nodeId,
      agentToken: identity.agentToken,
      agentVersion: version.slice(0, 64),
      timestamp: new Date().toISOString(),
      ...sample,
    };
    const ack = await session.request("agent.metrics", event, Ack);
    if (!ack.ok) throw new AgentError("metrics.refused", ack.message ?? "the control plane gave no reason");
    // The session worked until now: the next HTTP sample is due after a full interval.
    httpDue = steadyNow() + httpEvery;
  }

  async function sendOverHttp(sample: MetricsSample, signal: AbortSignal): Promise<void> {
    const body: MetricsRequest = {
      nodeId: identity.nodeId,
      agentToken: identity.agentToken,
      agentVersion: version.slice(0, 64),
      collectedAt: new Date().toISOString(),
      ...sample,
    };
    try {
      await ports.api.metrics(body, signal);
      httpFailures = 0;
      httpDue = steadyNow() + jitter(httpEvery * 1.1, 0.09, pace.random);
    } catch (error) {
      const pause = backoff(retry.metrics, ++httpFailures, pace.random);
      httpDue = steadyNow() + pauseAfter(error, Math.max(pause, httpEvery));
      throw error;
    }
  }

  function accepted(): void {
    if (complained) log.info("metrics", "accepted again");
    complained = false;
  }

  function onError(error: unknown): Duration {
    // Session and heartbeat log temporary failures; a refused sample is a bug of the agent.
    const silent = mayPass(error) || hasCode(error, "realtime.offline", "realtime.lost", "realtime.timeout");
    if (!silent && !complained) {
      complained = true;
      log.warn("metrics", `not accepted: ${messageOf(error)}`);
    }
    // Without a session the next round waits by itself, and must be there when one comes.
    return channel?.online() === true ? every : Math.min(every, RETRY_PAUSE);
  }
}
