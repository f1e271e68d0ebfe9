// The connections of agents: one socket a node, closed after a long silence, and sending to it.
//
// A node goes offline the moment the socket of its current session closes. A newer socket of the same node takes the
// session over first, and only then is the older one closed: the node stays online.
import type { Socket } from "socket.io";
import type { FaultInjector } from "../faults.ts";
import { recordEvent } from "../noderax/nodes.ts";
import type { Store } from "../store.ts";
import type { Timings } from "../timings.ts";
import { race } from "./race.ts";

/** One socket of an agent. */
export interface Link {
  readonly socket: Socket;
  /** Undefined until `agent.auth` is accepted. */
  nodeId: string | undefined;
  /** Of the last sign of life that counts for the socket; milliseconds. */
  lastSign: number;
  /** The wait of each frame before it is handled. */
  readonly race: () => Promise<void>;
  /** Packets queued for a socket that does not send them. */
  waiting: number;
}

/** The parts of the transport that are used here; Engine.IO's own types do not have them. */
export interface AgentWire {
  getBufferedAmount(): number;
  terminate(): void;
}

/** Queued packets above which events to an agent are dropped. */
const BACKLOG_MAX = 128;

export class Connections {
  readonly #links = new Set<Link>();
  readonly #current = new Map<string, Link>();
  readonly #wires = new WeakMap<object, AgentWire>();
  readonly #store: Store;
  readonly #timings: Timings;
  readonly #faults: FaultInjector;
  #closing = false;

  constructor(store: Store, timings: Timings, faults: FaultInjector) {
    this.#store = store;
    this.#timings = timings;
    this.#faults = faults;
  }

  /** Remembers the websocket below a transport of Engine.IO. */
  wired(transport: object, wire: AgentWire): void {
    this.#wires.set(transport, wire);
  }

  add(socket: Socket): Link {
    const link: Link = {
      socket,
      nodeId: undefined,
      lastSign: performance.now(),
      race: race(() => this.#timings.frameRaceWindow),
      waiting: 0,
    };
    this.#links.add(link);
    return link;
  }

  /** `link` is the node's session from now on; the one before is disconnected. */
  adopt(link: Link, nodeId: string): void {
    if (link.nodeId !== undefined && link.nodeId !== nodeId) this.#release(link);
    const before = this.#current.get(nodeId);
    this.#current.set(nodeId, link);
    link.nodeId = nodeId;
    if (before !== undefined && before !== link) before.socket.disconnect(true);
  }

  /** Called when its socket has closed. */
  closed(link: Link): void {
    this.#links.delete(link);
    if (!this.#closing) this.#release(link);
  }

  #release(link: Link): void {
    const { nodeId } = link;
    if (nodeId === undefined || this.#current.get(nodeId) !== link) return;
    this.#current.delete(nodeId);
    if (this.#faults.faults.databaseDown) return;
    const wasOnline = this.#store.nodes.update(
      nodeId,
      { status: "offline" },
      { sql: "status = 'online'", values: [] },
    );
    if (wasOnline) recordEvent(this.#store, nodeId, "node.offline");
  }

  /** False when the node has no socket, or one that does not read. Delivery itself is never known. */
  send(nodeId: string, event: string, body: object): boolean {
    const link = this.#current.get(nodeId);
    if (link === undefined || !link.socket.connected) return false;
    if (this.#buffered(link) === 0) link.waiting = 0;
    else if (++link.waiting > BACKLOG_MAX) return false;
    link.socket.emit(event, body);
    return true;
  }

  #buffered({ socket: { conn } }: Link): number {
    const wire = this.#wires.get(conn.transport);
    if (wire !== undefined) return wire.getBufferedAmount();
    const waiting: unknown = Reflect.get(conn, "writeBuffer");
    return Array.isArray(waiting) ? waiting.length : 0;
  }

  /** Cuts the sockets of one node, or of all, without a message. Returns their number. */
  cut(nodeId?: string): number {
    const links = [...this.#links].filter((link) => nodeId === undefined || link.nodeId === nodeId);
    for (const link of links) this.cutLink(link);
    return links.length;
  }

  cutLink({ socket: { conn } }: Link): void {
    const wire = this.#wires.get(conn.transport);
    if (wire === undefined) conn.close(true);
    else wire.terminate();
  }

  /** Drops authenticated sockets that gave no sign of life for too long. */
  dropSilent(): void {
    const limit = performance.now() - this.#timings.pingTimeout;
    for (const link of this.#links) {
      if (link.nodeId !== undefined && link.lastSign <= limit) link.socket.disconnect(true);
    }
  }

  /** From now on closed sockets change no node: the sandbox stops. */
  close(): void {
    this.#closing = true;
  }
}
