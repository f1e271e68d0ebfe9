// Keeps the realtime session connected, one socket at a time, and is the channel that features use.
//
//   connecting ──▶ authenticating ──▶ online
//        ▲               │               │
//        └── waiting ◀───┴───────────────┘     (for how long: pace.ts)
import * as v from "valibot";
import { AgentError, exit, messageOf } from "../lib/agent-error.ts";
import type { Random } from "../lib/backoff.ts";
import { type Duration, seconds } from "../lib/duration.ts";
import { type LoopRegistry, type LoopReport, type Wake, loop } from "../lib/loop.ts";
import type { Settings } from "../config/options.ts";
import { retry } from "../control/retry.ts";
import type { AuthState } from "../identity/auth-state.ts";
import { type SteadyTime, steadyNow } from "../lib/clock.ts";
import { Ack } from "../protocol/noderax/realtime.ts";
import type { Channel } from "./channel.ts";
import type { Check, CheckResult } from "./check.ts";
import { type FailureClass, type SessionFailure, classify } from "./failure.ts";
import {
  type ConnectionEnd,
  type ConnectionPorts,
  type OnlineConnection,
  runConnection,
} from "./connection.ts";
import {
  NO_DUPLICATE,
  disconnectedByServer,
  failuresAfter,
  forgetOldDisconnects,
  reconnectPause,
} from "./pace.ts";

export interface RealtimeSessionPorts extends Omit<ConnectionPorts, "random"> {
  readonly check: Check;
  readonly auth: Pick<AuthState, "accepted" | "refused">;
  /** Called when the server is reachable again. */
  readonly wake: Wake;
  readonly registry: LoopRegistry;
  readonly settings: ConnectionPorts["settings"] & Pick<Settings, "realtime_backoff_jitter">;
  readonly random?: Random;
}

export interface RealtimeSessionState {
  readonly state: "connecting" | "authenticating" | "online" | "waiting" | "stopped";
  readonly since: SteadyTime;
  /** How many times the session got online after the first. */
  readonly reconnects: number;
  /** Why the session is not online, by the documented classes; null for other reasons. */
  readonly failure: FailureClass | null;
  /** Status message for people: the failure and what to do; empty when there is none. */
  readonly note: string;
}

export interface RealtimeSession extends Channel {
  /** Keeps the session up until `signal` aborts. Never rejects. */
  run(signal: AbortSignal): Promise<void>;
  state(): RealtimeSessionState;
  /** Calls the listener each time an open session has ended. */
  onOffline(listener: () => void): void;
  /** Whether the server accepted `agent.auth` or `agent.metrics` within `period`: those keep the node online. */
  keepsOnline(period: Duration): boolean;
}

/** A larger message closes the socket, and the node goes offline with an alert. */
const MESSAGE_MAX = 1_000_000;
/** Bytes that Engine.IO and Socket.IO add: type, namespace, number of the ack, name of the event. */
const ENVELOPE = 512;

const DUPLICATE =
  "the server ends the session again and again, soon after it was accepted: check whether another agent uses this identity" +
  " (stop it, or enroll one of the two machines again) or the server keeps restarting";

/** Connects once `run` is called. */
export function createSession(ports: RealtimeSessionPorts): RealtimeSession {
  const { log, registry, random = Math.random } = ports;
  const listeners = new Map<string, ((body: unknown) => void)[]>();
  const waiting = new Set<() => void>();
  const onlineListeners: (() => void)[] = [];
  const offlineListeners: (() => void)[] = [];
  let current: OnlineConnection | undefined;
  let state: Omit<RealtimeSessionState, "reconnects"> = {
    state: "stopped",
    since: steadyNow(),
    failure: null,
    note: "",
  };
  let timesOnline = 0;
  /** Failed connections in a row. */
  let failures = 0;
  let attempts = 0;
  let duplicate = NO_DUPLICATE;
  /** When the server last accepted something that keeps the node online; steady clock. */
  let lastAccepted = -Infinity;
  let pause: Duration = seconds(1);
  /** True when the server asked for the pause, or it separates two agents of one identity: it is not cut short then. */
  let fixedPause = false;

  async function round(signal: AbortSignal, report: LoopReport): Promise<Duration> {
    become(report, "connecting");
    // In parallel with the first connection, which never waits for the check.
    const checked = attempts++ === 0 ? ports.check(signal) : undefined;
    const end = await runConnection({ ...ports, random }, hooksFor(report), signal);
    if (current !== undefined) for (const listener of offlineListeners) listener();
    current = undefined;
    if (signal.aborted) return 0;
    const result = await classified(end, () => checked ?? ports.check(signal));
    if (signal.aborted) return 0;
    updatePause(end, result);
    throw new AgentError("realtime.ended", conclude(report, end, result), { exit: exit.unreachable });
  }

  /** Classifies the end; undefined for a lost connection. Checks over HTTP only if no websocket was opened. */
  async function classified(
    end: ConnectionEnd,
    check: () => Promise<CheckResult>,
  ): Promise<(SessionFailure & { retryAfter?: Duration | undefined }) | undefined> {
    if (end.kind === "lost") return undefined;
    if (end.kind === "refused")
      return classify({ stage: "auth", reason: end.reason, check: undefined, lasting: true });
    const found = end.stage === "transport" && end.error === undefined ? await check() : undefined;
    return { ...classify({ ...end, check: found }), retryAfter: found?.retryAfter };
  }

  /** Sets the pause, by the end of this connection and of the earlier ones. */
  function updatePause(end: ConnectionEnd, result: { retryAfter?: Duration | undefined } | undefined): void {
    const disconnected = end.kind === "lost" && end.by === "server";
    const now = steadyNow();
    const suspectedBefore = duplicate.suspected;
    duplicate = disconnected
      ? disconnectedByServer(duplicate, now, end.onlineFor)
      : forgetOldDisconnects(duplicate, now);
    if (duplicate.suspected && !suspectedBefore) log.error("session", DUPLICATE);
    failures = failuresAfter(failures, end.kind === "lost" ? end.onlineFor : undefined);
    fixedPause = disconnected || duplicate.suspected || result?.retryAfter !== undefined;
    pause = reconnectPause(
      {
        ended: end.kind === "refused" ? "refused" : disconnected ? "disconnected" : "lost",
        failures,
        duplicate: duplicate.suspected,
        retryAfter: result?.retryAfter,
        jitter: ports.settings.realtime_backoff_jitter,
      },
      random,
    );
  }

  /** Logs the end, once for each change of the failure class, and returns its text. */
  function conclude(report: LoopReport, end: ConnectionEnd, failure: SessionFailure | undefined): string {
    if (end.kind === "refused") ports.auth.refused(end.standing, end.reason);
    if (failure === undefined) {
      const text = `lost: ${end.reason}`;
      become(report, "waiting", null, duplicate.suspected ? DUPLICATE : text);
      // Two agents of one identity alternate every minute; that was logged once.
      log[duplicate.suspected ? "debug" : "warn"]("session", text);
      return text;
    }
    const text = `${failure.class}: ${failure.text}`;
    const changed = state.failure !== failure.class;
    become(report, "waiting", failure.class, failure.next === "" ? text : `${text}; ${failure.next}`);
    if (changed) log.warn("session", text, failure.next === "" ? {} : { next: failure.next });
    return text;
  }

  function become(
    report: LoopReport,
    next: RealtimeSessionState["state"],
    failure = state.failure,
    note = state.note,
  ): void {
    state = { state: next, since: next === state.state ? state.since : steadyNow(), failure, note };
    report.note(note === "" ? next : `${next}: ${note}`);
  }

  const hooksFor = (report: LoopReport) => ({
    authenticating: () => become(report, "authenticating"),
    online(connection: OnlineConnection) {
      current = connection;
      timesOnline++;
      if (report.record.consecutiveFailures > 0) ports.wake.call();
      report.works();
      become(report, "online", null, duplicate.suspected ? DUPLICATE : "");
      log[duplicate.suspected ? "debug" : "info"]("session", timesOnline === 1 ? "online" : "online again");
      for (const resolve of waiting) resolve();
      for (const listener of onlineListeners) listener();
    },
    accepted() {
      lastAccepted = steadyNow();
      ports.auth.accepted("session");
    },
    alive() {
      report.works();
      if (!duplicate.suspected) return;
      duplicate = forgetOldDisconnects(duplicate, steadyNow());
      if (duplicate.suspected) return;
      become(report, "online", null, "");
      log.info(
        "session",
        "the server keeps the session open again: no other agent seems to use this identity",
      );
    },
    received: dispatch,
  });

  function dispatch(event: string, body: unknown): void {
    const registered = listeners.get(event);
    if (registered === undefined)
      return log.debug("session", "an event without a listener was ignored", { event: event.slice(0, 100) });
    for (const listener of registered) {
      try {
        listener(body);
      } catch (error) {
        // A bug in a listener must not end the session.
        log.error("session", `${event}: ${messageOf(error)}`);
      }
    }
  }

  return {
    async run(signal) {
      const { wake } = ports;
      const options = {
        name: "session",
        every: seconds(1),
        retry: retry.session,
        onError: () => pause,
        wake,
        mayWake: () => !fixedPause,
      };
      await loop(options, round, registry, signal);
      state = { state: "stopped", since: steadyNow(), failure: null, note: "" };
    },
    state: () => ({ ...state, reconnects: Math.max(0, timesOnline - 1) }),
    keepsOnline: (period) => current !== undefined && steadyNow() - lastAccepted <= period,
    online: () => current !== undefined,
    whenOnline(signal) {
      if (current !== undefined || signal.aborted) return Promise.resolve();
      return new Promise((resolve) => {
        const done = (): void => {
          waiting.delete(done);
          signal.removeEventListener("abort", done);
          resolve();
        };
        waiting.add(done);
        signal.addEventListener("abort", done, { once: true });
      });
    },
    onOnline: (listener) => void onlineListeners.push(listener),
    onOffline: (listener) => void offlineListeners.push(listener),
    async request(event, body, ack) {
      if (current === undefined)
        throw new AgentError("realtime.offline", `${event} was not sent: the session is not online`);
      const size = Buffer.byteLength(JSON.stringify(body)) + ENVELOPE;
      if (size > MESSAGE_MAX)
        throw new AgentError(
          "realtime.too_large",
          `${event} was not sent: ${size} bytes are more than the server takes`,
        );
      const answer = await current.request(event, body);
      const parsed = v.safeParse(ack, answer);
      if (!parsed.success)
        throw new AgentError("realtime.answer", `the answer to ${event} is not what the contract says`);
      if (event === "agent.metrics" && v.is(Ack, answer) && answer.ok) lastAccepted = steadyNow();
      return parsed.output;
    },
    on(event, listener) {
      listeners.set(event, [...(listeners.get(event) ?? []), listener]);
    },
  };
}
