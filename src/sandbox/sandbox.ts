// A miniature Noderax control plane on one port: test double, demo and quick start. As strict as the real one.
import { AgentError, messageOf } from "../lib/agent-error.ts";
import { type Log, silent } from "../platform/log.ts";
import { FaultInjector, type Faults } from "./faults.ts";
import { KEEP_ALIVE_SECONDS, jsonAnswer } from "./http/answer.ts";
import { answerAgent } from "./noderax/api.ts";
import { agentRoutes } from "./noderax/routes.ts";
import { Sweeper } from "./noderax/sweeper.ts";
import { Throttle } from "./noderax/throttle.ts";
import { type Operations, operations } from "./operations.ts";
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

/** Longest wait of a request that Bun allows; claims wait 30 s at most. */
const REQUEST_TIMEOUT_SECONDS = 255;

/** Throws AgentError "sandbox.listen" when the port cannot be had. */
export async function startSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const { host = "127.0.0.1", log = silent } = options;
  const operatorToken = options.operatorToken ?? urlSafeToken();
  const registrationSecret = options.registrationSecret ?? urlSafeToken();
  const timings: Timings = { ...DEFAULT_TIMINGS, ...options.timings };
  const faults = new FaultInjector();
  faults.set(options.faults ?? {});
  const store = openStore(options.data);
  const stopping = new AbortController();
  const sweeper = new Sweeper(store, timings, () => faults.faults.databaseDown);

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
    },
  };
  const operatorSide = { operations: operations(store, timings, log), switches, token: operatorToken, log };
  const running = new Set<Promise<Response>>();

  const server = listen(
    options,
    () => store.close(),
    async (request, server) => {
      // Bun closes quiet connections, also those that wait for their answer; after it the API's own limit holds.
      server.timeout(request, REQUEST_TIMEOUT_SECONDS);
      const address = server.requestIP(request)?.address ?? "";
      const answer = route(request, address);
      running.add(answer);
      try {
        return await answer;
      } finally {
        running.delete(answer);
        server.timeout(request, KEEP_ALIVE_SECONDS);
      }
    },
  );
  const port = server.port ?? 0;
  const origins = originsOf(host, port, options.tls !== undefined);
  sweeper.restart();
  log.debug("sandbox", "started", { host, port });

  async function route(request: Request, address: string): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith(`${OPERATOR_PREFIX}/`))
      return answerOperator({ ...operatorSide, origins }, request);
    if (pathname === "/health" && request.method === "GET") return jsonAnswer(request, 200, { status: "ok" });
    return answerAgent({ ...agentApi, routes }, request, address);
  }

  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    sweeper.stop();
    stopping.abort();
    await server.stop(true);
    await Promise.allSettled(running);
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

type Handler = (request: Request, server: Bun.Server<undefined>) => Promise<Response>;

function listen(options: SandboxOptions, close: () => void, fetch: Handler): Bun.Server<undefined> {
  const { port = 0, host = "127.0.0.1", tls } = options;
  try {
    return Bun.serve({
      port,
      hostname: host,
      idleTimeout: KEEP_ALIVE_SECONDS,
      ...(tls && { tls: { cert: tls.cert, key: tls.key } }),
      fetch,
    });
  } catch (error) {
    close();
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    throw new AgentError(
      "sandbox.listen",
      code === "EADDRINUSE"
        ? `port ${port} on ${host} is already in use`
        : `cannot listen on ${host}:${port}: ${messageOf(error)}`,
      { hint: "choose another port:  noderax-agent sandbox --port 0", cause: error },
    );
  }
}

/** The addresses by which this machine's pages may name us; the first one is our URL. */
function originsOf(host: string, port: number, tls: boolean): Set<string> {
  const everywhere = host === "0.0.0.0" || host === "::";
  const named = everywhere ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host;
  const scheme = tls ? "https" : "http";
  return new Set([named, "127.0.0.1", "localhost", "[::1]"].map((name) => `${scheme}://${name}:${port}`));
}
