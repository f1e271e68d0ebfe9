// Port forwarding: every request becomes one tunnel to a container that is looked up and dialled for it.
import { abortScope } from "../lib/abort-scope.ts";
import { AgentError, messageOf } from "../lib/agent-error.ts";
import { type Duration, seconds } from "../lib/duration.ts";
import type { Log } from "../platform/log.ts";
import { CLOSE, HALF_CLOSE, chosenProtocol, portOf } from "../protocol/caravanserai/tunnel.ts";
import type { Containers, Target } from "./containers.ts";
import { problem } from "./problem.ts";
import { Tunnel, type TunnelOrigin, websocketOptions } from "./tunnel.ts";
import { dialContainer } from "./tunnel-dial.ts";
import type { TunnelTarget, Tunnels } from "./tunnels-port.ts";

export interface TunnelsOptions {
  readonly containers: Pick<Containers, "findService">;
  /** A tunnel through which nothing passed for this long is closed. */
  readonly idleLimit: Duration;
  readonly log: Log;
  /** For all addresses of a container together. Default 10 s. */
  readonly dialTimeout?: Duration;
  /** How often tunnels are looked at without an event. Default 5 s. */
  readonly lookEvery?: Duration;
  /** Default 2 000: each may cost a stalled reader's buffers, about a megabyte. */
  readonly limit?: number;
}

export type OpenTunnels = Tunnels<Tunnel> & {
  /**
   * To be called after each look at Docker: tunnels to a container that does not run any more are closed, since one that
   * was killed may never say that it ended. Those that a look is too old to know are asked after.
   */
  stopped(isRunning: (id: string) => boolean): void;
};

/** They are closed when `signal` aborts. */
export function createTunnels(options: TunnelsOptions, signal: AbortSignal): OpenTunnels {
  const { containers, idleLimit, log } = options;
  const { dialTimeout = seconds(10), lookEvery = seconds(5), limit = 2_000 } = options;
  const tunnels = new Set<Tunnel>();
  let dialling = 0;
  let looking: NodeJS.Timeout | undefined;

  function enter(tunnel: Tunnel): void {
    tunnels.add(tunnel);
    const { project, service, port } = tunnel.origin;
    log.debug("listener", `tunnel to ${project}/${service}:${port} opened`);
    looking ??= setInterval(() => {
      const now = performance.now();
      for (const tunnel of tunnels) tunnel.look(now, idleLimit);
    }, lookEvery);
  }

  function leave(tunnel: Tunnel): void {
    if (!tunnels.delete(tunnel)) return;
    const { origin, received, sent, end } = tunnel;
    const why = end?.reason ?? "the client closed it";
    const what = `tunnel to ${origin.project}/${origin.service}:${origin.port} ended: ${why}`;
    log.debug("listener", what, { received, sent });
    if (tunnels.size > 0) return;
    clearInterval(looking);
    looking = undefined;
  }

  async function open(
    request: Request,
    server: Bun.Server<Tunnel>,
    { project, service, port: portText }: TunnelTarget,
  ): Promise<Response | undefined> {
    const port = portOf(portText);
    if (port === undefined)
      return problem(400, "Bad Request", `port: "${portText}" is not one of 1 to 65535`);
    // Before the first pause: some of it cannot be read of a request any more whose client is gone.
    const isUpgrade = request.headers.get("upgrade")?.toLowerCase() === "websocket";
    const protocol = chosenProtocol(request.headers.get("sec-websocket-protocol"));
    if (tunnels.size + dialling >= limit)
      return unavailable(`${limit} tunnels are open, more are not allowed`);
    // Looking up and dialling together may take longer than Bun waits for an answer.
    server.timeout(request, 60);
    using scope = abortScope([signal, request.signal]);
    const gone = scope.signal;
    dialling++;
    try {
      const found = await containers.findService(project, service, gone);
      const refusal = refusalFor(found, project, service);
      if (found === undefined || refusal !== undefined) return refusal;
      if (!isUpgrade)
        return problem(426, "Upgrade Required", "a tunnel is a WebSocket: ask for an upgrade to one", {
          upgrade: "websocket",
          connection: "Upgrade",
        });
      const origin = { project, service, port, container: found.id, halfClose: protocol === HALF_CLOSE };
      const tunnel = await dialContainer(found.addresses, port, () => makeTunnel(origin), dialTimeout, gone);
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
    // Left out, Bun would answer with the first that was offered, which may be a credential; an empty one is not sent.
    const headers = { "sec-websocket-protocol": protocol };
    if (!request.signal.aborted && server.upgrade(request, { data: tunnel, headers })) {
      if (signal.aborted) tunnel.close(CLOSE.away, "agent stops");
      return undefined;
    }
    tunnel.close(CLOSE.protocol, "no WebSocket was made of it");
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
      return; // Unknown is not stopped: the next look tells.
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

function refusalFor(found: Target | undefined, project: string, service: string): Response | undefined {
  if (found === undefined)
    return problem(404, "Not Found", `no container of this node serves ${project}/${service}`);
  if (found.state !== "running")
    return unavailable(`the container of ${project}/${service} is not running (${found.state})`);
  return undefined;
}

const unavailable = (detail: string): Response => problem(503, "Service Unavailable", detail);
