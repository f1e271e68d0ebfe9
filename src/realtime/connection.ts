// Runs one connection of the realtime session from its opening to its end:
//
//   open ──▶ connected ──agent.auth──▶ online ──agent.ping …──▶ ended
//              └── only agent.auth is sent before its ack: the server closes the socket on anything else
import * as v from "valibot";
import { type AgentError, messageOf } from "../lib/agent-error.ts";
import { type Random, jitter } from "../lib/backoff.ts";
import { type Duration, formatDuration, seconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import type { Settings } from "../config/options.ts";
import type { Identity } from "../identity/identity-file.ts";
import type { LocationReport } from "../identity/location/report.ts";
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
  authRefusals,
} from "../protocol/noderax/realtime.ts";
import type { OpenWire } from "./transport.ts";

export interface ConnectionPorts {
  readonly open: OpenWire;
  readonly identity: Pick<Identity, "nodeId" | "agentToken">;
  readonly host: Pick<Host, "platformVersion" | "kernelVersion">;
  readonly rootAccess: Pick<RootAccess, "desire" | "report">;
  readonly location: Pick<LocationReport, "due" | "accepted" | "failed">;
  readonly log: Log;
  readonly settings: Pick<Settings, "realtime_ping_interval" | "request_timeout">;
  readonly random: Random;
}

/** A connection that the server has authenticated. */
export interface OnlineConnection {
  request(event: string, body: object): Promise<unknown>;
}

export interface ConnectionHooks {
  authenticating(): void;
  online(connection: OnlineConnection): void;
  /** `agent.auth` was accepted, the first time or again. */
  accepted(): void;
  /** A ping was answered. */
  alive(): void;
  /** An event for a feature, not for the session itself; only called after `online`. Must not throw. */
  received(event: string, body: unknown): void;
}

export type ConnectionEnd =
  /** The connection never got online. */
  | {
      readonly kind: "unconnected";
      readonly stage: "transport" | "namespace" | "auth";
      readonly reason: string;
      readonly error?: AgentError | undefined;
    }
  /** The server does not accept the identity, and trying again will not change that. */
  | { readonly kind: "refused"; readonly standing: "refused" | "deleted"; readonly reason: string }
  | {
      readonly kind: "lost";
      readonly by: "server" | "network" | "us";
      readonly reason: string;
      readonly onlineFor: Duration;
    };

/** Events received after the server accepted us but before its ack arrived. */
const EARLY_MAX = 64;
const PING_DEADLINE = seconds(10);
const PING_SPREAD = 0.1;
const NO_LOCATION = "the control plane does not take the location of a node: it is not sent again";

/** Resolves with the reason when the connection has ended. Aborting `signal` closes it with a handshake. Never rejects. */
export async function runConnection(
  ports: ConnectionPorts,
  hooks: ConnectionHooks,
  signal: AbortSignal,
): Promise<ConnectionEnd> {
  const { rootAccess, location, log, random } = ports;
  const { request_timeout: requestTimeout, realtime_ping_interval: pingInterval } = ports.settings;
  const over = new AbortController();
  const accepted = Promise.withResolvers<void>();
  const early: [event: string, body: unknown][] = [];
  let refusal: string | undefined;
  let onlineSince: number | undefined;
  /** The last root-access report that was sent; undefined when the server may not have it. */
  let sentReport: string | undefined;
  let authenticating: Promise<void> | undefined;
  /** Whether the `agent.auth` in flight carries the location. */
  let carriesLocation = false;
  /** Whether the report has changed while `agent.auth` was in flight. */
  let changedMeanwhile = false;

  const wire = await ports.open((event, body) => {
    try {
      receive(event, body);
    } catch (error) {
      // For example a full disk while the profile is stored; the library would not catch it.
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
    if (await reached(accepted.promise)) await beOnline();
    else wire.close(`no answer to agent.auth within ${formatDuration(requestTimeout)}`);
  }
  const { stage, by, reason, error } = await ended;
  signal.removeEventListener("abort", stop);

  const known = authRefusals.find(({ pattern }) => refusal !== undefined && pattern.test(refusal));
  if (known !== undefined) return { kind: "refused", standing: known.standing, reason };
  if (onlineSince !== undefined) return { kind: "lost", by, reason, onlineFor: steadyNow() - onlineSince };
  return { kind: "unconnected", stage: stage === "connected" ? "auth" : stage, reason, error };

  /** Resolves with false when the connection ends first, or after `request_timeout`. */
  function reached(milestone: Promise<void>): Promise<boolean> {
    return Promise.race([milestone.then(() => true), sleep(requestTimeout, over.signal).then(() => false)]);
  }

  async function beOnline(): Promise<void> {
    onlineSince = steadyNow();
    hooks.online({ request: (event, body) => wire.request(event, body, requestTimeout) });
    for (const [event, body] of early.splice(0)) hooks.received(event, body);
    // The ack may have brought a profile that changes the report.
    reportChanges();
    for (let missed = 0; !over.signal.aborted;) {
      await sleep(jitter(pingInterval, PING_SPREAD, random), over.signal);
      if (over.signal.aborted) break;
      missed = (await ping()) ? 0 : missed + 1;
      // A claim's answer may have changed the report, too.
      reportChanges();
      if (missed >= 2) wire.close("two pings in a row were not answered");
    }
  }

  /** Returns whether the ping was answered. Closes a connection on which nothing at all was received since: it is dead. */
  async function ping(): Promise<boolean> {
    const sent = steadyNow();
    const deadline = Math.min(requestTimeout, PING_DEADLINE);
    const body: PingRequest = { type: "agent.ping", timestamp: new Date().toISOString() };
    try {
      await wire.request("agent.ping", body, deadline);
      hooks.alive();
      return true;
    } catch {
      if (wire.receivedAt() <= sent) wire.close(`nothing was received for ${formatDuration(deadline)}`);
      return false;
    }
  }

  function receive(event: string, body: unknown): void {
    switch (event) {
      case "agent.auth.ack":
        return admit(body);
      case "agent.auth.error": {
        const parsed = v.safeParse(AuthError, body);
        refusal = parsed.success ? parsed.output.message : "no reason given";
        // The server closes the socket as well.
        return wire.close(carriesLocation ? NO_LOCATION : refusal);
      }
      case "root-access.updated": {
        const parsed = v.safeParse(RootAccessUpdated, body);
        if (!parsed.success) return ignored(event);
        rootAccess.desire(parsed.output.rootAccess);
        return reportChanges();
      }
      case "agent.error": {
        const parsed = v.safeParse(EventError, body);
        if (!parsed.success) return ignored(event);
        const { eventType, code, message } = parsed.output;
        return log.debug("session", `the server refused an event: ${message}`, { eventType, code });
      }
    }
    if (onlineSince !== undefined) hooks.received(event, body);
    else if (early.length < EARLY_MAX) early.push([event, body]);
  }

  function ignored(event: string): void {
    log.debug("session", "ignored an event that is not what the contract says", { event });
  }

  /** The ack and the event `agent.auth.ack` have the same content; the first of them counts. */
  function admit(answer: unknown): void {
    const parsed = v.safeParse(AuthAck, answer);
    if (!parsed.success) return ignored("agent.auth.ack");
    if (parsed.output.rootAccess !== undefined) rootAccess.desire(parsed.output.rootAccess);
    hooks.accepted();
    accepted.resolve();
  }

  function reportChanges(): void {
    if (onlineSince === undefined) return;
    if (JSON.stringify(rootAccess.report()) !== sentReport || location.due() !== undefined)
      void reauthenticate();
  }

  /** Sends `agent.auth`. One is in flight; a call meanwhile causes one more after it, with the report of that time. */
  function reauthenticate(): Promise<void> {
    if (authenticating !== undefined) {
      changedMeanwhile = true;
      return authenticating;
    }
    return (authenticating = authenticate().finally(() => (authenticating = undefined)));
  }

  async function authenticate(): Promise<void> {
    do {
      changedMeanwhile = false;
      const report = rootAccess.report();
      sentReport = JSON.stringify(report);
      const place = onlineSince === undefined ? undefined : location.due();
      carriesLocation = place !== undefined;
      const body: AuthRequest = {
        type: "agent.auth",
        nodeId: ports.identity.nodeId,
        agentToken: ports.identity.agentToken,
        agentVersion: version.slice(0, 64),
        platformVersion: ports.host.platformVersion,
        kernelVersion: ports.host.kernelVersion,
        rootAccess: report,
        ...(place === undefined ? {} : { location: place }),
      };
      try {
        admit(await wire.request("agent.auth", body, requestTimeout));
        if (place !== undefined) location.accepted(place);
      } catch {
        sentReport = undefined; // Sent again after the next ping.
        if (place !== undefined) location.failed(refusal);
      }
      carriesLocation = false;
    } while (changedMeanwhile && !over.signal.aborted);
  }
}
