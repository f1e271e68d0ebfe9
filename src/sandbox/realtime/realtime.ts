// The realtime side of the control plane: a real Socket.IO server on Bun's own websockets, on the sandbox's port.
//
// Frames of one socket are handled side by side, as in the original: each waits a random moment before it takes
// effect, so only a client that waits for the acks keeps an order.
import { Server as Engine } from "@socket.io/bun-engine";
import { Server, type Socket } from "socket.io";
import { messageOf } from "../../lib/agent-error.ts";
import { sleep } from "../../lib/loop.ts";
import type { Log } from "../../platform/log.ts";
import type { FaultInjector } from "../faults.ts";
import { cutConnection, jsonAnswer } from "../http/answer.ts";
import type { Store } from "../store.ts";
import type { Timings } from "../timings.ts";
import { Connections, type Link } from "./connections.ts";
import type { AgentEvent } from "./event.ts";
import { authenticate, lifeEvents } from "./sign-of-life.ts";
import { dispatchTasks, taskEvents } from "./task-events.ts";
import { terminalEvents } from "./terminal-events.ts";
import { SandboxTerminals } from "./terminals.ts";

export const ENGINE_PATH = "/socket.io/";
const NAMESPACE = "/agent-realtime";
/** Characters of a handler's error that are sent. */
const ERROR_MAX = 300;
const DATABASE_DOWN = "connect ECONNREFUSED 127.0.0.1:5432";

type EngineServer = Parameters<Engine["handleRequest"]>[1];
export type EngineSocket = Parameters<Engine["onWebSocketOpen"]>[0];

export interface Realtime {
  readonly terminals: SandboxTerminals;
  /** Answers a request below `/socket.io/`; an upgrade is done on the way. */
  handle(request: Request, server: EngineServer, origins: ReadonlySet<string>): Promise<Response>;
  /** The websockets of the engine. */
  readonly websocket: {
    open(ws: EngineSocket): void;
    message(ws: EngineSocket, message: string | Buffer): void;
    close(ws: EngineSocket, code: number, reason: string): void;
  };
  /** Sends an event to a node's agent; false when it is not connected or does not read. */
  send(nodeId: string, event: string, body: object): boolean;
  /** Called when a task is queued; sends it only if the push is switched on. */
  taskQueued(nodeId: string): void;
  /** Cuts the sockets of a node, or all, at once and without a message. Returns their number. */
  cut(nodeId?: string): number;
  /** Applies changed timings. */
  restart(): void;
  /** After this, closed sockets set no node offline. */
  quiet(): void;
  close(): void;
}

export interface RealtimePorts {
  readonly store: Store;
  readonly timings: Timings;
  readonly faults: FaultInjector;
  readonly stopping: AbortSignal;
  /** Bytes; a larger message closes the transport. */
  readonly messageMax: number;
  readonly log: Log;
}

/** Opens the Socket.IO side of the sandbox on the stores; the HTTP server hands connections over to it. */
export function openRealtime(ports: RealtimePorts): Realtime {
  const { store, timings, faults, log } = ports;
  const connections = new Connections(store, timings, faults);
  const send = connections.send.bind(connections);
  const terminals = new SandboxTerminals({ store, timings, send, log });
  const dispatch = (nodeId: string): void => {
    if (faults.faults.taskDispatch) dispatchTasks(store, send, nodeId);
  };
  const agents = new Agents(ports, connections, dispatch, {
    ...lifeEvents(store),
    ...taskEvents(store),
    ...terminalEvents(store, terminals),
  });

  const engine = new Engine({
    path: ENGINE_PATH,
    maxHttpBufferSize: ports.messageMax,
    pingInterval: timings.enginePingInterval,
    pingTimeout: timings.enginePingTimeout,
  });
  const io = new Server({ serveClient: false });
  io.bind(engine);
  io.of(NAMESPACE).on("connection", (socket) => agents.connected(socket));

  let silence: NodeJS.Timeout | undefined;
  const restart = (): void => {
    engine.opts.pingInterval = timings.enginePingInterval;
    engine.opts.pingTimeout = timings.enginePingTimeout;
    clearInterval(silence);
    silence = setInterval(() => connections.dropSilent(), timings.pingCheck);
  };
  restart();

  return {
    terminals,
    async handle(request, server, origins) {
      const refuse = (message: string): Response => jsonAnswer(request, 403, { code: 4, message });
      const origin = request.headers.get("origin");
      if (origin !== null && !origins.has(origin)) return refuse("Forbidden");
      if (faults.dropping) return cutConnection();
      if (faults.faults.websocketBlocked && request.headers.has("upgrade")) return refuse("Forbidden");
      return engine.handleRequest(request, server);
    },
    websocket: {
      open(ws) {
        connections.wired(ws.data.transport, ws);
        engine.onWebSocketOpen(ws);
      },
      message: (ws, message) => engine.onWebSocketMessage(ws, message),
      close: (ws, code, reason) => engine.onWebSocketClose(ws, code, reason),
    },
    send,
    taskQueued: dispatch,
    cut: (nodeId) => connections.cut(nodeId),
    restart,
    quiet: () => connections.close(),
    close() {
      clearInterval(silence);
      terminals.close();
      engine.close();
    },
  };
}

type Ack = (answer: object) => void;

/** Checks, delays and carries out the events of every socket. */
class Agents {
  readonly #ports: RealtimePorts;
  readonly #connections: Connections;
  readonly #dispatch: (nodeId: string) => void;
  readonly #events: ReadonlyMap<string, AgentEvent>;

  constructor(
    ports: RealtimePorts,
    connections: Connections,
    dispatch: (nodeId: string) => void,
    events: Record<string, AgentEvent>,
  ) {
    this.#ports = ports;
    this.#connections = connections;
    this.#dispatch = dispatch;
    this.#events = new Map(Object.entries(events));
  }

  connected(socket: Socket): void {
    const link = this.#connections.add(socket);
    socket.onAny((event: string, ...parts: unknown[]) => void this.#hear(link, event, parts));
    socket.on("disconnect", (reason) => {
      this.#connections.closed(link);
      this.#ports.log.debug("sandbox", "an agent's socket closed", { node_id: link.nodeId, reason });
    });
  }

  async #hear(link: Link, event: string, parts: unknown[]): Promise<void> {
    const ack = takeAck(parts);
    // An event has one JSON object; several arguments arrive as a list, which no event accepts.
    const body = parts.length === 1 ? parts[0] : parts;
    try {
      if (event === "agent.auth") return await this.#authenticate(link, body, ack);
      const known = this.#events.get(event);
      if (known !== undefined) return await this.#handle(link, event, known, body, ack);
      const message = `Unsupported event: ${event}`;
      link.socket.emit("agent.error", { type: "agent.error", code: "UNKNOWN_EVENT", message });
    } catch (error) {
      if (!this.#ports.stopping.aborted)
        this.#ports.log.error("sandbox", "an event failed", { event, error: messageOf(error) });
    }
  }

  async #handle(link: Link, event: string, known: AgentEvent, body: unknown, ack: Ack): Promise<void> {
    const { nodeId } = link;
    if (nodeId === undefined) return void link.socket.disconnect(true);
    if (event === "agent.metrics") link.lastSign = performance.now();
    const { faults, stopping } = this.#ports;
    try {
      const run = known.prepare(body);
      if (event === "agent.ping") link.lastSign = performance.now();
      await link.race();
      const verdict = await faults.judgeEvent(routeOf(event), stopping);
      if (verdict === "drop") return this.#connections.cutLink(link);
      if (verdict === "fail") throw new Error("Internal server error");
      if (faults.faults.databaseDown && event !== "agent.ping") throw new Error(DATABASE_DOWN);
      const answer = run(nodeId);
      if (event === "agent.ping") this.#dispatch(nodeId);
      if (verdict === "serve") ack(answer);
    } catch (error) {
      const message = messageOf(error).slice(0, ERROR_MAX);
      link.socket.emit("agent.error", { type: "agent.error", eventType: event, message });
      ack({ ok: false, eventType: event, message });
    }
  }

  async #authenticate(link: Link, body: unknown, ack: Ack): Promise<void> {
    const { faults, timings, stopping, store, log } = this.#ports;
    const { socket } = link;
    await sleep(timings.authWindow, stopping);
    const verdict = await faults.judgeEvent("realtime.auth", stopping);
    if (!socket.connected || stopping.aborted) return;
    try {
      if (verdict === "drop") return this.#connections.cutLink(link);
      if (verdict === "fail") throw new Error("Internal server error");
      if (faults.faults.databaseDown) throw new Error(DATABASE_DOWN);
      const { nodeId, ack: answer } = authenticate(store, body, faults.faults);
      link.lastSign = performance.now();
      this.#connections.adopt(link, nodeId);
      log.debug("sandbox", "an agent connected", { node_id: nodeId });
      if (verdict === "lose") return;
      socket.emit("agent.auth.ack", answer);
      ack(answer);
      this.#dispatch(nodeId);
    } catch (error) {
      const message = messageOf(error).slice(0, ERROR_MAX);
      socket.emit("agent.auth.error", { type: "agent.auth.error", authenticated: false, message });
      socket.disconnect(true);
    }
  }
}

/** "agent.metrics" is "realtime.metrics", "terminal.output" is "realtime.terminal.output". */
const routeOf = (event: string): string => `realtime.${event.replace(/^agent\./, "")}`;

/** Removes the ack from the arguments; a no-op when the client wants none. */
function takeAck(parts: unknown[]): Ack {
  const last = parts.at(-1);
  if (typeof last !== "function") return () => {};
  parts.pop();
  return (answer) => void Reflect.apply(last, undefined, [answer]);
}
