// Both control planes in miniature on one port: test double, demo and quick start. As strict as the real ones.
import { bracketed } from "../lib/address.ts";
import { AgentError } from "../lib/agent-error.ts";
import { whyNotListening } from "../platform/listen-failure.ts";
import { type Log, silent } from "../platform/log.ts";
import { answerCaravanserai, isCaravanserai } from "./caravanserai/api.ts";
import { caraRoutes } from "./caravanserai/routes.ts";
import { caraServer } from "./caravanserai/server.ts";
import { FaultInjector, type Faults } from "./faults.ts";
import { KEEP_ALIVE_SECONDS, jsonAnswer } from "./http/answer.ts";
import { answerAgent } from "./noderax/api.ts";
import { agentRoutes } from "./noderax/routes.ts";
import { type Viewer, answerAttach, isAttach } from "./attach.ts";
import type { EngineSocket, Realtime } from "./realtime/realtime.ts";
import { Sweeper } from "./noderax/sweeper.ts";
import { Throttle } from "./noderax/throttle.ts";
import { type Operations, operations } from "./operations.ts";
import { answerRelease, isRelease } from "./releases.ts";
import { OPERATOR_PREFIX, type Switches, answerOperator } from "./operator.ts";
import { openStore } from "./store.ts";
import { DEFAULT_TIMINGS, type Timings } from "./timings.ts";
import { urlSafeToken } from "./token.ts";

export interface SandboxOptions {
  /** 0, the default, takes any free port. */
  readonly port?: number;
  /** Default 127.0.0.1: tokens travel in clear without TLS. */
  readonly host?: string;
  /** Directory that keeps `sandbox.db`; in memory without. */
  readonly data?: string;
  /** Directory that is served as a release place under /releases/. */
  readonly releases?: string;
  /** Default: a random one. */
  readonly operatorToken?: string;
  /** The shared secret of the legacy `/agent/register`. Default: a random one. */
  readonly registrationSecret?: string;
  readonly timings?: Partial<Timings>;
  readonly faults?: Partial<Faults>;
  /** False switches the limit of 100 requests a minute off. */
  readonly throttle?: boolean;
  /** PEM texts. */
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly log?: Log;
}

export interface Sandbox extends AsyncDisposable, Operations, Switches {
  readonly url: string;
  readonly port: number;
  readonly operatorToken: string;
  readonly registrationSecret: string;
  /** PEM, when it serves HTTPS. */
  readonly certificate: string | undefined;
  /** Cuts every connection, as a stopped API does, and closes the database. */
  stop(): Promise<void>;
}

/** Bytes; a larger websocket message closes its connection. The same limit holds for polling. */
const MESSAGE_MAX = 1_000_000;
/** Longest wait of a request that Bun allows; claims wait 30 s at most. */
const REQUEST_TIMEOUT_SECONDS = 255;

/** Starts both control planes. Throws AgentError "sandbox.listen" when the port cannot be bound. */
export async function startSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  // Loaded here: Socket.IO loads slowly, and the other commands of `sandbox` do not need it.
  const { ENGINE_PATH, openRealtime } = await import("./realtime/realtime.ts");
  const { host = "127.0.0.1", log = silent } = options;
  const operatorToken = options.operatorToken ?? urlSafeToken();
  const registrationSecret = options.registrationSecret ?? urlSafeToken();
  const timings: Timings = { ...DEFAULT_TIMINGS, ...options.timings };
  const faults = new FaultInjector();
  faults.set(options.faults ?? {});
  const store = openStore(options.data);
  const stopping = new AbortController();
  const paused = (): boolean => faults.faults.databaseDown;
  const sweeper = new Sweeper(store, timings, paused);
  const cara = caraServer(store, timings, paused, log);
  const routesOfCara = caraRoutes(cara);

  const realtime = openRealtime({
    store,
    timings,
    faults,
    stopping: stopping.signal,
    messageMax: MESSAGE_MAX,
    log,
  });
  const agentApi = {
    store,
    timings,
    faults,
    throttle: options.throttle === false ? undefined : new Throttle(timings),
    stopping: stopping.signal,
    log,
  };
  const routes = agentRoutes({ ...agentApi, registrationSecret });
  const switches: Switches = {
    get faults() {
      return faults.faults;
    },
    timings,
    setFaults: (change) => faults.set(change),
    setTimings(change) {
      Object.assign(timings, change);
      sweeper.restart();
      cara.restart();
      realtime.restart();
    },
  };
  const operatorSide = {
    operations: operations({ store, timings, realtime, cara, log }),
    switches,
    token: operatorToken,
    log,
  };
  const running = new Set<Promise<Response>>();

  const server = await listen(
    options,
    () => {
      realtime.close();
      store.close();
    },
    websocketsOf(realtime),
    async (request, server) => {
      // Bun closes idle connections, also those that wait for an answer; after it the API's own limit applies.
      server.timeout(request, REQUEST_TIMEOUT_SECONDS);
      const address = server.requestIP(request)?.address ?? "";
      const answer = route(request, address, server);
      running.add(answer);
      try {
        return await answer;
      } finally {
        running.delete(answer);
        // An upgraded request is a websocket by now, which has a limit of its own.
        if (!request.headers.has("upgrade")) server.timeout(request, KEEP_ALIVE_SECONDS);
      }
    },
  );
  const port = server.port ?? 0;
  const origins = originsOf(host, port, options.tls !== undefined);
  sweeper.restart();
  cara.restart();
  log.debug("sandbox", "started", { host, port });

  async function route(request: Request, address: string, server: Bun.Server<SocketData>): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith(ENGINE_PATH)) return realtime.handle(request, server, origins);
    if (isAttach(request)) {
      return answerAttach({ ...operatorSide, origins }, request, (viewer, headers) =>
        server.upgrade(request, { data: { viewer }, headers }),
      );
    }
    if (pathname.startsWith(`${OPERATOR_PREFIX}/`))
      return answerOperator({ ...operatorSide, origins }, request);
    if (pathname === "/health" && request.method === "GET") return jsonAnswer(request, 200, { status: "ok" });
    if (isRelease(pathname)) return answerRelease(options.releases, request);
    if (isCaravanserai(pathname)) {
      const ports = { routes: routesOfCara, faults, origins, stopping: stopping.signal, log };
      return answerCaravanserai(ports, request);
    }
    return answerAgent({ ...agentApi, routes }, request, address);
  }

  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    sweeper.stop();
    cara.stop();
    stopping.abort();
    realtime.quiet();
    await server.stop(true);
    realtime.close();
    await Promise.allSettled(running);
    // Requests that were still running may have started the scheduler.
    cara.stop();
    store.close();
    log.debug("sandbox", "stopped");
  };
  const stopOnce = (): Promise<void> => (stopped ??= stop());
  return {
    ...operatorSide.operations,
    get faults() {
      return switches.faults;
    },
    timings,
    setFaults: (change) => switches.setFaults(change),
    setTimings: (change) => switches.setTimings(change),
    url: [...origins][0] ?? "",
    port,
    operatorToken,
    registrationSecret,
    certificate: options.tls?.cert,
    stop: stopOnce,
    [Symbol.asyncDispose]: stopOnce,
  };
}

/** The kind of a websocket: Engine.IO's, or that of a viewer of a terminal. */
type SocketData = EngineSocket["data"] | { readonly viewer: Viewer };
type Handler = (request: Request, server: Bun.Server<SocketData>) => Promise<Response>;

function websocketsOf({ websocket }: Realtime): Bun.WebSocketHandler<SocketData> {
  const isEngine = (ws: Bun.ServerWebSocket<SocketData>): ws is EngineSocket => "transport" in ws.data;
  const viewerOf = ({ data }: Bun.ServerWebSocket<SocketData>): Viewer | undefined =>
    "viewer" in data ? data.viewer : undefined;
  return {
    maxPayloadLength: MESSAGE_MAX,
    open(ws) {
      if (isEngine(ws)) websocket.open(ws);
      else viewerOf(ws)?.open(ws);
    },
    message(ws, message) {
      if (isEngine(ws)) websocket.message(ws, message);
      else viewerOf(ws)?.message(message);
    },
    drain: (ws) => viewerOf(ws)?.drain(),
    close(ws, code, reason) {
      if (isEngine(ws)) websocket.close(ws, code, reason);
      else viewerOf(ws)?.close();
    },
  };
}

async function listen(
  options: SandboxOptions,
  close: () => void,
  websocket: Bun.WebSocketHandler<SocketData>,
  fetch: Handler,
): Promise<Bun.Server<SocketData>> {
  const { port = 0, host = "127.0.0.1", tls } = options;
  try {
    return Bun.serve({
      port,
      hostname: host,
      idleTimeout: KEEP_ALIVE_SECONDS,
      ...(tls && { tls: { cert: tls.cert, key: tls.key } }),
      fetch,
      websocket,
    });
  } catch (error) {
    close();
    const why = await whyNotListening(error, port);
    throw new AgentError("sandbox.listen", `cannot listen on ${host}:${port}: ${why}`, { cause: error });
  }
}

/** The addresses by which this machine's pages may name us; the first one is our URL. */
function originsOf(host: string, port: number, tls: boolean): Set<string> {
  const everywhere = host === "0.0.0.0" || host === "::";
  const named = everywhere ? "127.0.0.1" : bracketed(host);
  const scheme = tls ? "https" : "http";
  return new Set([named, "127.0.0.1", "localhost", "[::1]"].map((name) => `${scheme}://${name}:${port}`));
}
