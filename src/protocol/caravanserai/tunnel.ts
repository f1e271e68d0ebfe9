// Paths, subprotocols, limits and close codes of port-forward tunnels, for both ends.
//
// A tunnel is one WebSocket of binary frames whose boundaries mean nothing. WebSocket has no half-close: with
// the subprotocol `tunnel.half-close`, an empty binary message ends one direction, and the tunnel ends when
// both have ended. Without it, the end of either side closes the tunnel.
import { MIB } from "../../lib/size.ts";

/** Port of an agent whose heartbeats name none. */
export const AGENT_PORT = 9_090;

export const HALF_CLOSE = "tunnel.half-close";
/** Subprotocol of browsers, which have to offer one. */
export const BINARY = "binary";

/** Larger frames from a client are answered with 1009. */
export const FRAME_MAX = 16 * MIB;

/** Close codes of RFC 6455, as tunnels use them. */
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

/**
 * Returns the subprotocol to answer with, "" for none. Never one that is not ours: it may be a credential.
 */
export function chosenProtocol(offered: string | null): "" | typeof HALF_CLOSE | typeof BINARY {
  const names = (offered ?? "").split(",").map((name) => name.trim());
  return names.includes(HALF_CLOSE) ? HALF_CLOSE : names.includes(BINARY) ? BINARY : "";
}

/** Parses a port; undefined for anything else. */
export function portOf(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : undefined;
}
