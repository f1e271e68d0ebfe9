// A control plane's Socket.IO side, real but small, and a session against it.
import { type AddressInfo, type Socket as TcpSocket, connect, createServer } from "node:net";
import { Server as Engine } from "@socket.io/bun-engine";
import { Server, type Socket } from "socket.io";
import { type Duration, milliseconds, seconds } from "../../../src/lib/duration.ts";
import { LoopRegistry, Wake } from "../../../src/lib/loop.ts";
import { type AuthState, createAuthState } from "../../../src/identity/auth-state.ts";
import type { Log } from "../../../src/platform/log.ts";
import {
  type AppliedRootAccess,
  type DesiredRootAccess,
  rootProfileNamed,
} from "../../../src/protocol/noderax/root-access.ts";
import { endpointCheck } from "../../../src/realtime/check.ts";
import {
  type RealtimeSession,
  type RealtimeSessionPorts,
  createSession,
} from "../../../src/realtime/session.ts";
import { type Endpoint, socketIo } from "../../../src/realtime/transport.ts";
import { until } from "../../support/until.ts";

export const identity = { nodeId: "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", agentToken: "secret-".repeat(6) };
const ACK = { type: "agent.auth.ack", authenticated: true, nodeId: identity.nodeId };

export interface Heard {
  readonly event: string;
  readonly body: Record<string, unknown>;
}
type Answer = (answer: unknown) => void;

export interface PlaneOptions {
  readonly path?: string;
  readonly namespace?: string;
  readonly port?: number;
  readonly tls?: { readonly cert: Bun.BunFile; readonly key: Bun.BunFile };
  readonly pingInterval?: Duration;
  /** Answers `agent.auth`; default: accepts it. */
  readonly onAuth?: (socket: Socket, answer: Answer) => void;
  /** Answers every other event; false: no answer. */
  readonly onEvent?: (event: string, body: Record<string, unknown>, socket: Socket) => unknown;
  /** Answers instead of Socket.IO, where it returns something. */
  readonly onRequest?: (request: Request) => Response | undefined;
}

export interface Plane extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly heard: Heard[];
  /** Method and query of every HTTP request. */
  readonly requests: string[];
  readonly engine: Engine;
  /** The connected sockets of the namespace. */
  sockets(): Socket[];
  count(event: string): number;
}

/** Accepts `agent.auth` as the API does: the event first, then the ack. */
export function letIn(socket: Socket, answer: Answer, rootAccess?: DesiredRootAccess): void {
  const ack = rootAccess === undefined ? ACK : { ...ACK, rootAccess };
  socket.emit("agent.auth.ack", ack);
  answer(ack);
}

export function refuse(socket: Socket, message: string): void {
  socket.emit("agent.auth.error", { type: "agent.auth.error", authenticated: false, message });
  socket.disconnect(true);
}

export function plane(options: PlaneOptions = {}): Plane {
  const { path = "/socket.io/", namespace = "/agent-realtime", onAuth, onEvent, onRequest } = options;
  const io = new Server();
  const engine = new Engine({ path, pingInterval: options.pingInterval ?? seconds(25) });
  io.bind(engine);
  const heard: Heard[] = [];
  const requests: string[] = [];
  const space = io.of(namespace);
  space.on("connection", (socket) => {
    socket.onAny((event: string, body: Record<string, unknown>, answer: Answer) => {
      heard.push({ event, body });
      if (event === "agent.auth") return (onAuth ?? letIn)(socket, answer);
      const reply = onEvent?.(event, body, socket) ?? { ok: true };
      if (reply !== false) answer(reply);
    });
  });
  const { websocket } = engine.handler();
  const server = Bun.serve({
    port: options.port ?? 0,
    hostname: "127.0.0.1",
    idleTimeout: 60,
    websocket,
    ...(options.tls === undefined ? {} : { tls: options.tls }),
    fetch(request, self) {
      const { pathname, search } = new URL(request.url);
      requests.push(`${request.method} ${pathname}${search}`);
      const instead = onRequest?.(request);
      if (instead !== undefined) return instead;
      if (pathname !== path) return new Response("nothing here", { status: 404 });
      return engine.handleRequest(request, self as never);
    },
  });
  return {
    url: server.url.origin.replace("localhost", "127.0.0.1"),
    port: server.port ?? 0,
    heard,
    requests,
    engine,
    sockets: () => [...space.sockets.values()],
    count: (event) => heard.filter((one) => one.event === event).length,
    [Symbol.asyncDispose]: async () => {
      engine.close();
      await server.stop(true);
    },
  };
}

export interface LogLine {
  readonly level: keyof Log;
  readonly text: string;
}

/** A log that keeps its lines, fields included. */
export function recordingLog(): Log & { readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const note =
    (level: keyof Log) =>
    (_: string, event: string, fields: object = {}) =>
      void lines.push({ level, text: [event, ...Object.values(fields)].join(" ") });
  return { lines, debug: note("debug"), info: note("info"), warn: note("warn"), error: note("error") };
}

/** Root access without a disk. */
export function rootAccess() {
  let report: AppliedRootAccess = { appliedProfile: "off", lastError: null };
  const desired: DesiredRootAccess[] = [];
  return {
    desired,
    desire(snapshot: DesiredRootAccess) {
      desired.push(snapshot);
      report = { appliedProfile: rootProfileNamed(snapshot.profile) ?? "off", lastError: null };
    },
    report: () => report,
  };
}

export interface Running extends AsyncDisposable {
  readonly session: RealtimeSession;
  readonly log: ReturnType<typeof recordingLog>;
  readonly registry: LoopRegistry;
  readonly auth: AuthState;
  readonly rootAccess: ReturnType<typeof rootAccess>;
  becomes(state: ReturnType<RealtimeSession["state"]>["state"]): Promise<void>;
  stop(): Promise<void>;
}

export interface SessionOptions extends Partial<RealtimeSessionPorts> {
  readonly endpoint?: Partial<Endpoint>;
  readonly pingInterval?: Duration;
  readonly requestTimeout?: Duration;
}

/** Runs a session with short intervals; its pauses are as short as the policy allows unless `random` says otherwise. */
export function start(
  url: string,
  { endpoint: own = {}, pingInterval, requestTimeout = seconds(2), ...ports }: SessionOptions = {},
): Running {
  const log = recordingLog();
  const registry = new LoopRegistry();
  const auth = createAuthState(() => Promise.resolve(), log);
  const access = rootAccess();
  const endpoint: Endpoint = {
    apiUrl: url,
    path: "/socket.io/",
    namespace: "/agent-realtime",
    authorities: () => "",
    ...own,
  };
  const session = createSession({
    open: socketIo(endpoint, requestTimeout),
    check: endpointCheck(endpoint, requestTimeout),
    identity,
    host: { platformVersion: "Test Linux 1", kernelVersion: "6.0" },
    rootAccess: access,
    location: { due: () => undefined, accepted() {}, failed() {} },
    auth,
    wake: new Wake(),
    registry,
    log,
    settings: {
      realtime_ping_interval: pingInterval ?? milliseconds(100),
      request_timeout: requestTimeout,
      realtime_backoff_jitter: 1,
    },
    random: () => 0.01,
    ...ports,
  });
  const end = new AbortController();
  const done = session.run(end.signal);
  const stop = (): Promise<void> => {
    end.abort();
    return done;
  };
  return {
    session,
    log,
    registry,
    auth,
    rootAccess: access,
    becomes: (state) => until(`the session is ${state}`, () => session.state().state === state),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** The pause before the next connection. */
export function pauseOf({ registry }: Running): Duration {
  const [record] = registry.all();
  return (record?.nextAt ?? 0) - (record?.lastError?.at ?? Infinity);
}

/** A network between agent and control plane that can freeze: connections stay open, no data passes. */
export async function network(
  port: number,
): Promise<AsyncDisposable & { readonly url: string; connections(): number; freeze(): void; thaw(): void }> {
  const sockets = new Set<TcpSocket>();
  let frozen = false;
  const server = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from
        .on("error", () => to.destroy())
        .on("close", () => {
          sockets.delete(from);
          to.destroy();
        });
      from.on("data", (bytes) => void to.write(bytes));
      if (frozen) from.pause();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    connections: () => sockets.size,
    freeze() {
      frozen = true;
      for (const socket of sockets) socket.pause();
    },
    /** What is frozen stays so; new connections pass. */
    thaw: () => (frozen = false),
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
