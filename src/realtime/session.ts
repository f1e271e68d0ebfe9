// The realtime session: one socket at a time, as long as the agent lives, and the channel the features use.
//
//   connecting ──▶ authenticating ──▶ online
//        ▲               │               │
//        └── waiting ◀───┴───────────────┘     (pace.ts says for how long)
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
import { type Failure, type FailureClass, classify } from "./failure.ts";
import { type LifeEnd, type LifePorts, type Live, live } from "./life.ts";
import { calmer, failuresAfter, reconnectPause, thrownOut, uncontested } from "./pace.ts";

export interface SessionPorts extends Omit<LifePorts, "random"> {
  readonly check: Check;
  readonly auth: Pick<AuthState, "accepted" | "refused">;
  /** Called when the server is reached again. */
  readonly wake: Wake;
  readonly registry: LoopRegistry;
  readonly settings: LifePorts["settings"] & Pick<Settings, "realtime_backoff_jitter">;
  readonly random?: Random;
}

export interface SessionState {
  readonly state: "connecting" | "authenticating" | "online" | "waiting" | "stopped";
  readonly since: SteadyTime;
  /** How often it got online again. */
  readonly reconnects: number;
  /** Why it is not online, where that falls into one of the documented classes. */
  readonly failure: FailureClass | null;
  /** What happened and what to do, for a person; empty when all is well. */
  readonly note: string;
}

export interface Session extends Channel {
  /** Keeps the session up until `signal` aborts. Never rejects. */
  run(signal: AbortSignal): Promise<void>;
  state(): SessionState;
  /** Whether the server heard of us within `period` in a way that keeps the node online: `agent.auth`, `agent.metrics`. */
  keepsOnline(period: Duration): boolean;
}

/** A larger message closes the socket, and the node goes offline with an alert. */
const MESSAGE_MAX = 1_000_000;
/** Engine.IO's and Socket.IO's own part of a message: type, namespace, number of the ack, name of the event. */
const ENVELOPE = 512;

const CONTESTED =
  "the server ends the session again and again, soon after it was let in: check whether another agent uses this identity" +
  " (stop it, or enroll one of the two machines again) or the server keeps restarting";

export function createSession(ports: SessionPorts): Session {
  const { log, registry, random = Math.random } = ports;
  const listeners = new Map<string, ((body: unknown) => void)[]>();
  const waiting = new Set<() => void>();
  const greeters: (() => void)[] = [];
  let current: Live | undefined;
  let state: Omit<SessionState, "reconnects"> = {
    state: "stopped",
    since: steadyNow(),
    failure: null,
    note: "",
  };
  let timesOnline = 0;
  /** Lives in a row that were no good ones. */
  let failures = 0;
  let lives = 0;
  let contest = uncontested;
  let lastSign = -Infinity;
  let pause: Duration = seconds(1);
  /** The pause was asked for by the server, or keeps two agents from throwing each other out: nothing shortens it. */
  let firm = false;

  async function round(signal: AbortSignal, report: LoopReport): Promise<Duration> {
    become(report, "connecting");
    // Beside the first connection, which never waits for it.
    const checked = lives++ === 0 ? ports.check(signal) : undefined;
    const end = await live({ ...ports, random }, hooksFor(report), signal);
    current = undefined;
    if (signal.aborted) return 0;
    const result = await judged(end, () => checked ?? ports.check(signal));
    if (signal.aborted) return 0;
    reckon(end, result);
    throw new AgentError("realtime.ended", conclude(report, end, result), { exit: exit.unreachable });
  }

  /** Over HTTP is asked only what the socket itself could not tell. */
  async function judged(
    end: LifeEnd,
    check: () => Promise<CheckResult>,
  ): Promise<(Failure & { retryAfter?: Duration | undefined }) | undefined> {
    if (end.kind === "lost") return undefined;
    if (end.kind === "refused")
      return classify({ stage: "auth", reason: end.reason, check: undefined, lasting: true });
    const found = end.stage === "transport" && end.error === undefined ? await check() : undefined;
    return { ...classify({ ...end, check: found }), retryAfter: found?.retryAfter };
  }

  /** How long to pause, by how this life ended and the ones before it did. */
  function reckon(end: LifeEnd, result: { retryAfter?: Duration | undefined } | undefined): void {
    const kicked = end.kind === "lost" && end.by === "server";
    const now = steadyNow();
    const before = contest.contested;
    contest = kicked ? thrownOut(contest, now, end.onlineFor) : calmer(contest, now);
    if (contest.contested && !before) log.error("session", CONTESTED);
    failures = failuresAfter(failures, end.kind === "lost" ? end.onlineFor : undefined);
    firm = kicked || contest.contested || result?.retryAfter !== undefined;
    pause = reconnectPause(
      {
        ended: end.kind === "refused" ? "refused" : kicked ? "thrown out" : "lost",
        failures,
        contested: contest.contested,
        retryAfter: result?.retryAfter,
        jitter: ports.settings.realtime_backoff_jitter,
      },
      random,
    );
  }

  /** Says what happened, once for each change, and returns it. */
  function conclude(report: LoopReport, end: LifeEnd, failure: Failure | undefined): string {
    if (end.kind === "refused") ports.auth.refused(end.standing, end.reason);
    if (failure === undefined) {
      const text = `lost: ${end.reason}`;
      become(report, "waiting", null, contest.contested ? CONTESTED : text);
      // In a contest it comes and goes every minute; that was said.
      log[contest.contested ? "debug" : "warn"]("session", text);
      return text;
    }
    const text = `${failure.class}: ${failure.text}`;
    const news = state.failure !== failure.class;
    become(report, "waiting", failure.class, failure.next === "" ? text : `${text}; ${failure.next}`);
    if (news) log.warn("session", text, failure.next === "" ? {} : { next: failure.next });
    return text;
  }

  function become(
    report: LoopReport,
    next: SessionState["state"],
    failure = state.failure,
    note = state.note,
  ): void {
    state = { state: next, since: next === state.state ? state.since : steadyNow(), failure, note };
    report.note(note === "" ? next : `${next}: ${note}`);
  }

  const hooksFor = (report: LoopReport) => ({
    authenticating: () => become(report, "authenticating"),
    online(live: Live) {
      current = live;
      timesOnline++;
      if (report.record.consecutiveFailures > 0) ports.wake.call();
      report.works();
      become(report, "online", null, contest.contested ? CONTESTED : "");
      log[contest.contested ? "debug" : "info"]("session", timesOnline === 1 ? "online" : "online again");
      for (const resolve of waiting) resolve();
      for (const greet of greeters) greet();
    },
    accepted() {
      lastSign = steadyNow();
      ports.auth.accepted("session");
    },
    alive() {
      report.works();
      if (!contest.contested) return;
      contest = calmer(contest, steadyNow());
      if (contest.contested) return;
      become(report, "online", null, "");
      log.info("session", "the server lets the session live again");
    },
    heard: dispatch,
  });

  function dispatch(event: string, body: unknown): void {
    const told = listeners.get(event);
    if (told === undefined)
      return log.debug("session", "nobody listens to an event", { event: event.slice(0, 100) });
    for (const listener of told) {
      try {
        listener(body);
      } catch (error) {
        // A bug of ours; the session is not to die of it.
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
        mayWake: () => !firm,
      };
      await loop(options, round, registry, signal);
      state = { state: "stopped", since: steadyNow(), failure: null, note: "" };
    },
    state: () => ({ ...state, reconnects: Math.max(0, timesOnline - 1) }),
    keepsOnline: (period) => current !== undefined && steadyNow() - lastSign <= period,
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
    onOnline: (listener) => void greeters.push(listener),
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
      if (event === "agent.metrics" && v.is(Ack, answer) && answer.ok) lastSign = steadyNow();
      return parsed.output;
    },
    on(event, listener) {
      listeners.set(event, [...(listeners.get(event) ?? []), listener]);
    },
  };
}
