// What the listener needs of the tunnels, which `tunnels.ts` implements.
import type { Server, WebSocketHandler } from "bun";

/** Names as the path has them, decoded and checked; `port` as it was written. */
export interface TunnelTarget {
  readonly project: string;
  readonly service: string;
  readonly port: string;
  /** The subprotocol to answer with: a browser that offered some closes the connection without one. */
  readonly protocol?: string;
}

export interface Tunnels<Data> {
  /**
   * Dials, then upgrades. Undefined when upgraded; a problem document otherwise (400 port, 404, 503, 502, 426 when no
   * WebSocket was asked for).
   */
  open(request: Request, server: Server<Data>, target: TunnelTarget): Promise<Response | undefined>;
  readonly websocket: WebSocketHandler<Data>;
  /** Open now, those that are being dialled included. */
  count(): number;
}
