// The interface between the listener and the tunnels; `tunnels.ts` implements it.
import type { Server, WebSocketHandler } from "bun";

/** Names from the path, decoded and checked; `port` as written. */
export interface TunnelTarget {
  readonly project: string;
  readonly service: string;
  readonly port: string;
  /** The subprotocol to answer with: a browser that offered some closes the connection otherwise. */
  readonly protocol?: string;
}

export interface Tunnels<Data> {
  /**
   * Dials, then upgrades. Resolves with `undefined` when upgraded, else with a problem document: 400 (port), 404, 503, 502, 426
   * (no WebSocket requested).
   */
  open(request: Request, server: Server<Data>, target: TunnelTarget): Promise<Response | undefined>;
  readonly websocket: WebSocketHandler<Data>;
  /** Number of open tunnels, those being dialled included. */
  count(): number;
}
