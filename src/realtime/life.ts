// One life of the session:
//
//   open ──▶ connected ──agent.auth──▶ let in (online) ──agent.ping …──▶ ended
//              └── nothing but agent.auth leaves before its answer: anything else gets the socket closed
import * as v from "valibot";
import { type AgentError, messageOf } from "../lib/agent-error.ts";
import { type Random, jitter } from "../lib/backoff.ts";
import { type Duration, formatDuration, seconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import type { Settings } from "../config/options.ts";
import type { Identity } from "../identity/identity-file.ts";
import type { RootAccess } from "../identity/root-access.ts";
import { version } from "../platform/build.ts";
import type { Host } from "../platform/host.ts";
import type { Log } from "../platform/log.ts";
import { steadyNow } from "../lib/clock.ts";
import {
  AuthAck,
  AuthError,
  type AuthRequest,
  EventError,
  type PingRequest,
  RootAccessUpdated,
  SaysRootAccess,
  authRefusals,
} from "../protocol/noderax/realtime.ts";
import type { OpenWire } from "./transport.ts";

export interface LifePorts {
  readonly open: OpenWire;
  readonly identity: Pick<Identity, "nodeId" | "agentToken">;
  readonly host: Pick<Host, "platformVersion" | "kernelVersion">;
  readonly rootAccess: Pick<RootAccess, "desire" | "report">;
  readonly log: Log;
  readonly settings: Pick<Settings, "realtime_ping_interval" | "request_timeout">;
  readonly random: Random;
}

/** What a session that is online can do. */
export interface Live {
  request(event: string, body: object): Promise<unknown>;
}

export interface LifeHooks {
  authenticating(): void;
  online(live: Live): void;
  /** `agent.auth` was accepted, the first time or again. */
  accepted(): void;
  /** A ping was answered. */
  alive(): void;
  /** An event of the server that is none of the session's own, from `online` on. Must not throw. */
  heard(event: string, body: unknown): void;
}

export type LifeEnd =
  /** It never got online. */
  | {
      readonly kind: "unconnected";
      readonly stage: "transport" | "namespace" | "auth";
      readonly reason: string;
      readonly error?: AgentError | undefined;
    }
  /** Our identity is not accepted, and will not be by trying. */
  | { readonly kind: "refused"; readonly standing: "refused" | "deleted"; readonly reason: string }
  | {
      readonly kind: "lost";
      readonly by: "server" | "network" | "us";
      readonly reason: string;
      readonly onlineFor: Duration;
    };

/** What came between the server's decision and its answer; it is a handful, if any. */
const EARLY_MAX = 64;
const PING_DEADLINE = seconds(10);
const PING_SPREAD = 0.1;
const UNKNOWN_PROFILE =
  "the control plane sent a root-access profile this agent does not know: the one before stays in force; update the agent";

/** Resolves when the life is over; `signal` ends it politely. Never rejects. */
export async function live(ports: LifePorts, hooks: LifeHooks, signal: AbortSignal): Promise<LifeEnd> {
  const { rootAccess, log, random } = ports;
  const { request_timeout: requestTimeout, realtime_ping_interval: pingInterval } = ports.settings;
  const over = new AbortController();
  const letIn = Promise.withResolvers<void>();
  const early: [event: string, body: unknown][] = [];
  let refusal: string | undefined;
  let onlineSince: number | undefined;
  /** The report of root access that the server has, or is being sent. */
  let told: string | undefined;
  let authenticating: Promise<void> | undefined;
  let again = false;

  const wire = await ports.open((event, body) => {
    try {
      hear(event, body);
    } catch (error) {
      // A full disk, say, under the profile that came; nobody above this would catch it.
      log.error("session", `${event}: ${messageOf(error)}`);
    }
  });
  const ended = wire.ended.finally(() => over.abort());
  const stop = (): void => wire.close("stopped");
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  if (!(await reached(wire.connected))) {
    wire.close(`no answer within ${formatDuration(requestTimeout)}`);
  } else {
    hooks.authenticating();
    void reauthenticate();
    if (await reached(letIn.promise)) await beOnline();
    else wire.close(`no answer to agent.auth within ${formatDuration(requestTimeout)}`);
  }
  const { stage, by, reason, error } = await ended;
  signal.removeEventListener("abort", stop);

  const known = authRefusals.find(({ pattern }) => refusal !== undefined && pattern.test(refusal));
  if (known !== undefined) return { kind: "refused", standing: known.standing, reason };
  if (onlineSince !== undefined) return { kind: "lost", by, reason, onlineFor: steadyNow() - onlineSince };
  return { kind: "unconnected", stage: stage === "connected" ? "auth" : stage, reason, error };

  /** False when the life ended before, or it took longer than a request may. */
  function reached(milestone: Promise<void>): Promise<boolean> {
    return Promise.race([milestone.then(() => true), sleep(requestTimeout, over.signal).then(() => false)]);
  }

  async function beOnline(): Promise<void> {
    onlineSince = steadyNow();
    hooks.online({ request: (event, body) => wire.request(event, body, requestTimeout) });
    for (const [event, body] of early.splice(0)) hooks.heard(event, body);
    // What the answer brought may have changed what we have to report.
    tellChanges();
    for (let missed = 0; !over.signal.aborted;) {
      await sleep(jitter(pingInterval, PING_SPREAD, random), over.signal);
      if (over.signal.aborted) break;
      missed = (await ping()) ? 0 : missed + 1;
      // A claim's answer changes the report, too.
      tellChanges();
      if (missed >= 2) wire.close("two pings in a row were not answered");
    }
  }

  /** A socket of which nothing at all is heard is dead, long before TCP or Engine.IO say so. */
  async function ping(): Promise<boolean> {
    const sent = steadyNow();
    const deadline = Math.min(requestTimeout, PING_DEADLINE);
    const body: PingRequest = { type: "agent.ping", timestamp: new Date().toISOString() };
    try {
      await wire.request("agent.ping", body, deadline);
      hooks.alive();
      return true;
    } catch {
      if (wire.heardAt() <= sent) wire.close(`nothing was heard for ${formatDuration(deadline)}`);
      return false;
    }
  }

  function hear(event: string, body: unknown): void {
    switch (event) {
      case "agent.auth.ack":
        return admit(body);
      case "agent.auth.error": {
        const parsed = v.safeParse(AuthError, body);
        refusal = parsed.success ? parsed.output.message : "no reason given";
        // The server does so, too.
        return wire.close(refusal);
      }
      case "root-access.updated": {
        const parsed = v.safeParse(RootAccessUpdated, body);
        if (!parsed.success)
          return v.is(SaysRootAccess, body) ? log.warn("session", UNKNOWN_PROFILE) : ignored(event);
        rootAccess.desire(parsed.output.rootAccess);
        return tellChanges();
      }
      case "agent.error": {
        const parsed = v.safeParse(EventError, body);
        if (!parsed.success) return ignored(event);
        const { eventType, code, message } = parsed.output;
        return log.debug("session", `the server did not like an event: ${message}`, { eventType, code });
      }
    }
    if (onlineSince !== undefined) hooks.heard(event, body);
    else if (early.length < EARLY_MAX) early.push([event, body]);
  }

  function ignored(event: string): void {
    log.debug("session", "ignored an event that is not what the contract says", { event });
  }

  /** The ack and the event say the same; whichever comes first counts. */
  function admit(answer: unknown): void {
    const parsed = v.safeParse(AuthAck, answer);
    if (!parsed.success) return ignored("agent.auth.ack");
    if (parsed.output.rootAccess !== undefined) rootAccess.desire(parsed.output.rootAccess);
    else if (v.is(SaysRootAccess, answer)) log.warn("session", UNKNOWN_PROFILE);
    hooks.accepted();
    letIn.resolve();
  }

  function tellChanges(): void {
    if (onlineSince !== undefined && JSON.stringify(rootAccess.report()) !== told) void reauthenticate();
  }

  /** One in flight; whoever asks meanwhile gets one more after it, with what is true then. */
  function reauthenticate(): Promise<void> {
    if (authenticating !== undefined) {
      again = true;
      return authenticating;
    }
    return (authenticating = authenticate().finally(() => (authenticating = undefined)));
  }

  async function authenticate(): Promise<void> {
    do {
      again = false;
      const report = rootAccess.report();
      told = JSON.stringify(report);
      const body: AuthRequest = {
        type: "agent.auth",
        nodeId: ports.identity.nodeId,
        agentToken: ports.identity.agentToken,
        agentVersion: version.slice(0, 64),
        platformVersion: ports.host.platformVersion,
        kernelVersion: ports.host.kernelVersion,
        rootAccess: report,
      };
      try {
        admit(await wire.request("agent.auth", body, requestTimeout));
      } catch {
        told = undefined; // The next ping's round sends it again, if there is one.
      }
    } while (again && !over.signal.aborted);
  }
}
