// What both ends of a port-forward tunnel know: paths, subprotocols, limits and close codes.
//
// A tunnel is one WebSocket of binary frames whose boundaries mean nothing. WebSocket has no half-close: who offers
// `tunnel.half-close`, and gets it, says "I send no more" by an empty binary message, and is told the same way that the
// service sends no more; the tunnel ends when both have. Without it, either side's end closes the tunnel.
import { MIB } from "../../lib/size.ts";

/** Where an agent listens that does not say so in its heartbeats. */
export const AGENT_PORT = 9_090;

export const HALF_CLOSE = "tunnel.half-close";
/** What browsers offer that have to offer something. */
export const BINARY = "binary";

/** Larger frames from a client are answered with 1009. */
export const FRAME_MAX = 16 * MIB;

/** Of RFC 6455, as tunnels use them. */
export const CLOSE = {
  /** Everything was delivered, both ways. */
  done: 1_000,
  /** The container stopped, the agent stops, or nothing passed for too long; the reason says which. */
  away: 1_001,
  protocol: 1_002,
  /** A text frame. */
  unsupported: 1_003,
  tooBig: 1_009,
  /** The service reset the connection. */
  reset: 1_011,
} as const;

export const SEND_BINARY = "send binary frames";

export const forwardPath = (project: string, service: string, port: number): string =>
  `/api/v1/forward/${encodeURIComponent(project)}/${encodeURIComponent(service)}/${port}`;

export const logsPath = (project: string, service: string): string =>
  `/api/v1/logs/${encodeURIComponent(project)}/${encodeURIComponent(service)}`;

/** The subprotocol to answer with, "" for none. Others that are offered, credentials among them, are never repeated. */
export function chosenProtocol(offered: string | null): "" | typeof HALF_CLOSE | typeof BINARY {
  const names = (offered ?? "").split(",").map((name) => name.trim());
  return names.includes(HALF_CLOSE) ? HALF_CLOSE : names.includes(BINARY) ? BINARY : "";
}

/** A port as people and paths write it; undefined for anything else. */
export function portOf(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : undefined;
}
