// Port forwarding: finds and dials a container for each request, and joins both in a tunnel.
import { abortScope } from "../lib/abort-scope.ts";
import { AgentError, messageOf } from "../lib/agent-error.ts";
import { type Duration, seconds } from "../lib/duration.ts";
import type { Log } from "../platform/log.ts";
import { CLOSE, HALF_CLOSE, chosenProtocol, portOf } from "../protocol/caravanserai/tunnel.ts";
import type { Containers, ServingContainer } from "./containers.ts";
import { problem } from "./problem.ts";
import { Tunnel, type TunnelOrigin, websocketOptions } from "./tunnel.ts";
import { dialContainer } from "./tunnel-dial.ts";
import type { TunnelTarget, Tunnels } from "./tunnels-port.ts";

export interface TunnelsOptions {
  readonly containers: Pick<Containers, "findService">;
  /** A tunnel without traffic for this long is closed. */
  readonly idleLimit: Duration;
  readonly log: Log;
  /** Limit for connecting, shared by all addresses of a container. Default 10 s. */
  readonly dialTimeout?: Duration;
  /** How often idle tunnels are checked. Default 5 s. */
  readonly checkEvery?: Duration;
  /** Open tunnels at most. Default 2 000: a stalled reader's buffers take about 1 MB each. */
  readonly limit?: number;
}

export type OpenTunnels = Tunnels<Tunnel> & {
  /**
   * Closes tunnels to containers that do not run any more: a killed container may not close its connections. Call it after
   * each Docker snapshot. A container missing from the snapshot may be newer than it, so Docker is asked first.
   */
  stopped(isRunning: (id: string) => boolean): void;
};

/** Creates the set of tunnels. All are closed when `signal` aborts. */
export function createTunnels(options: TunnelsOptions, signal: AbortSignal): OpenTunnels {
  const { containers, idleLimit, log } = options;
  const { dialTimeout = seconds(10), checkEvery = seconds(5), limit = 2_000 } = options;
  const tunnels = new Set<Tunnel>();
  let dialling = 0;
  let checking: NodeJS.Timeout | undefined;

  function enter(tunnel: Tunnel): void {
    tunnels.add(tunnel);
    const { project, service, port } = tunnel.origin;
    log.debug("listener", `tunnel to ${project}/${service}:${port} opened`);
    checking ??= setInterval(() => {
      const now = performance.now();
      for (const tunnel of tunnels) tunnel.check(now, idleLimit);
    }, checkEvery);
  }

  function leave(tunnel: Tunnel): void {
    if (!tunnels.delete(tunnel)) return;
    const { origin, received, sent, end } = tunnel;
    const why = end?.reason ?? "the client closed it";
    const what = `tunnel to ${origin.project}/${origin.service}:${origin.port} ended: ${why}`;
    log.debug("listener", what, { received, sent });
    if (tunnels.size > 0) return;
    clearInterval(checking);
    checking = undefined;
  }

  async function open(
    request: Request,
    server: Bun.Server<Tunnel>,
    { project, service, port: portText }: TunnelTarget,
  ): Promise<Response | undefined> {
    const port = portOf(portText);
    if (port === undefined)
      return problem(400, "Bad Request", `port: "${portText}" is not one of 1 to 65535`);
    // Read before the first await: headers cannot be read once the client has disconnected.
    const isUpgrade = request.headers.get("upgrade")?.toLowerCase() === "websocket";
    const protocol = chosenProtocol(request.headers.get("sec-websocket-protocol"));
    if (tunnels.size + dialling >= limit)
      return unavailable(`${limit} tunnels are open, more are not allowed`);
    // Seconds. Finding and dialling may take longer than Bun's default timeout for an answer.
    server.timeout(request, 60);
    using scope = abortScope([signal, request.signal]);
    const ended = scope.signal;
    dialling++;
    try {
      const found = await containers.findService(project, service, ended);
      const refusal = refusalFor(found, project, service);
      if (found === undefined || refusal !== undefined) return refusal;
      if (!isUpgrade)
        return problem(426, "Upgrade Required", "a tunnel is a WebSocket: ask for an upgrade to one", {
          upgrade: "websocket",
          connection: "Upgrade",
        });
      const origin = { project, service, port, container: found.id, halfClose: protocol === HALF_CLOSE };
      const tunnel = await dialContainer(found.addresses, port, () => makeTunnel(origin), dialTimeout, ended);
      if (typeof tunnel === "string") {
        return signal.aborted
          ? unavailable("the agent stops")
          : problem(502, "Bad Gateway", `cannot connect to ${project}/${service}:${port}: ${tunnel}`);
      }
      return upgrade(request, server, tunnel, protocol);
    } catch (error) {
      if (signal.aborted) return unavailable("the agent stops");
      if (error instanceof AgentError) return unavailable(error.message);
      log.error("listener", `tunnel to ${project}/${service}: ${messageOf(error)}`);
      return problem(500, "Internal Server Error", "the tunnel could not be opened");
    } finally {
      dialling--;
    }
  }

  const makeTunnel = (origin: TunnelOrigin): Tunnel => new Tunnel(origin, leave);

  function upgrade(
    request: Request,
    server: Bun.Server<Tunnel>,
    tunnel: Tunnel,
    protocol: string,
  ): Response | undefined {
    enter(tunnel);
    // Without this header Bun would answer with the first protocol offered, which may be a credential. An empty one is not sent.
    const headers = { "sec-websocket-protocol": protocol };
    if (!request.signal.aborted && server.upgrade(request, { data: tunnel, headers })) {
      if (signal.aborted) tunnel.close(CLOSE.away, "agent stops");
      return undefined;
    }
    tunnel.close(CLOSE.protocol, "the WebSocket handshake failed");
    return problem(400, "Bad Request", "the WebSocket handshake is not complete");
  }

  async function closeUnlessRunning(id: string, those: readonly Tunnel[]): Promise<void> {
    const [first] = those;
    if (first === undefined) return;
    const { project, service } = first.origin;
    try {
      const now = await containers.findService(project, service, signal);
      if (now?.id === id && now.state === "running") return;
    } catch {
      return; // Unknown does not mean stopped: the next snapshot decides.
    }
    for (const tunnel of those) tunnel.close(CLOSE.away, "container stopped");
  }

  signal.addEventListener("abort", () => {
    for (const tunnel of tunnels) tunnel.closeInTime(CLOSE.away, "agent stops");
  });

  return {
    open,
    count: () => tunnels.size + dialling,
    websocket: {
      ...websocketOptions,
      open: (client) => client.data.clientOpened(client),
      message: (client, message) => client.data.fromClient(message),
      drain: (client) => client.data.clientDrained(),
      close: (client) => client.data.clientClosed(),
    },
    stopped(isRunning) {
      const missing = [...tunnels].filter(({ origin }) => !isRunning(origin.container));
      for (const [id, those] of Map.groupBy(missing, ({ origin }) => origin.container))
        void closeUnlessRunning(id, those);
    },
  };
}

function refusalFor(
  found: ServingContainer | undefined,
  project: string,
  service: string,
): Response | undefined {
  if (found === undefined)
    return problem(404, "Not Found", `no container of this node serves ${project}/${service}`);
  if (found.state !== "running")
    return unavailable(`the container of ${project}/${service} is not running (${found.state})`);
  return undefined;
}

const unavailable = (detail: string): Response => problem(503, "Service Unavailable", detail);
