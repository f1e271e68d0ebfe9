// The realtime session: Socket.IO 4 over a websocket, namespace and path from the settings, one JSON object an event.
//
//   agent.auth     first, and nothing else before its answer: any other known event gets the socket closed. Answered
//                  by the ack and by the event `agent.auth.ack`. A refusal is the event `agent.auth.error` and a forced
//                  disconnect; the ack does not come then. Only three of its texts name a lasting reason. May be
//                  repeated on a live session: that is how a fresh report of versions or root access is sent.
//   agent.ping     keeps the socket (an authenticated one that is silent for 45 s is dropped), not the node online.
//   agent.metrics  keeps both. Wants nodeId and agentToken once more.
//
// The server answers every event by an ack, refuses unknown keys, converts no types, and answers a wrong event only with
// "Bad Request Exception", so events must be exact. It handles frames side by side, so order is kept only by
// waiting for each ack. One socket a node: a second one closes the first. A closed socket puts the node offline
// at once, with an alert. A message above 1 000 000 bytes closes the socket.
import * as v from "valibot";
import { printable } from "../../lib/printable.ts";
import type { Location } from "./location.ts";
import { AnsweredRootAccess, type AppliedRootAccess, DesiredRootAccess } from "./root-access.ts";

export interface AuthRequest {
  type: "agent.auth";
  nodeId: string;
  agentToken: string;
  /** All three or none. Never empty. */
  agentVersion: string;
  platformVersion: string;
  kernelVersion: string;
  rootAccess?: AppliedRootAccess;
  /** Some versions refuse the whole event for it. */
  location?: Location;
}

export const AuthAck = v.object({
  authenticated: v.literal(true),
  nodeId: v.string(),
  rootAccess: AnsweredRootAccess,
});
export type AuthAck = v.InferOutput<typeof AuthAck>;

/** Text of the server for people: cut and made printable for log and status. */
const words = v.pipe(
  v.string(),
  v.transform((text) => printable(text.slice(0, 300))),
);

export const AuthError = v.object({ message: v.optional(words, "no reason given") });

/** The texts of `agent.auth.error` that name a lasting reason; all others, such as a database that is down, are temporary. */
export const authRefusals = [
  { pattern: /^Invalid agent token$/, standing: "refused" },
  { pattern: /^Agent token is not configured for this node$/, standing: "refused" },
  { pattern: /^Node .+ was not found$/, standing: "deleted" },
] as const;

export interface PingRequest {
  type: "agent.ping";
  timestamp: string;
}

/** One sample: what the realtime event and the HTTP route share. Percentages are within 0–100, or the server refuses. */
export interface MetricsSample {
  cpuUsage: number;
  memoryUsage: number;
  diskUsage: number;
  /** Highest core temperature in °C; left out when unknown. */
  temperature?: number;
  /** Stored as it is; the operator's screen reads `rxBytes` and `txBytes` as totals since boot. */
  networkStats?: Record<string, unknown>;
  cpu?: Record<string, unknown>;
  memory?: Record<string, unknown>;
  disk?: Record<string, unknown>;
}

export interface MetricsEvent extends MetricsSample {
  type: "agent.metrics";
  nodeId: string;
  agentToken: string;
  agentVersion?: string;
  timestamp?: string;
}

/** `POST /agent/metrics`, the fallback: without `type` and `timestamp`, throttled to 100 a minute and address. */
export interface MetricsRequest extends MetricsSample {
  nodeId: string;
  agentToken: string;
  agentVersion?: string;
  collectedAt?: string;
}

/** The answer to it: the sample as the server stored it. */
export const StoredSample = v.looseObject({ id: v.union([v.string(), v.number()]) });

/** Every ack but that of `agent.auth`; further fields depend on the event. A refusal has `ok: false` and a message. */
export const Ack = v.looseObject({ ok: v.boolean(), message: v.optional(words) });
export type Ack = v.InferOutput<typeof Ack>;

/** Pushed when an operator changes the profile; not acknowledged. Apply it, then send `agent.auth` again. */
export const RootAccessUpdated = v.object({ rootAccess: DesiredRootAccess });

/** `agent.error`: the server refused an event. `code` is UNKNOWN_EVENT for one it does not know. */
export const EventError = v.object({
  eventType: v.optional(words),
  code: v.optional(words),
  message: v.optional(words, ""),
});
