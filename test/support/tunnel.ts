// A listener that is nothing but tunnels, on a real port, and services on others: what the tests of both ends share.
import { type AddressInfo, type Server, type Socket, createServer } from "node:net";
import type { Containers, ServingContainer } from "../../src/listener/containers.ts";
import { type OpenTunnels, type TunnelsOptions, createTunnels } from "../../src/listener/tunnels.ts";
import type { Tunnel } from "../../src/listener/tunnel.ts";
import { hours, seconds } from "../../src/lib/duration.ts";
import { silent } from "../../src/platform/log.ts";

export interface Listener extends AsyncDisposable {
  readonly port: number;
  readonly tunnels: OpenTunnels;
  /** What the next request for `project/service` finds; undefined for no such container. */
  serves(name: string, target: ServingContainer | undefined): void;
  /** Answers every request itself, until it is taken back. */
  answers(how: ((request: Request) => Response | undefined) | undefined): void;
  /** The agent stops. */
  stop(): void;
}

export interface ListenerOptions extends Partial<TunnelsOptions> {
  readonly tls?: { readonly cert: string; readonly key: string };
}

/** `app/svc` is a running container at 127.0.0.1 by default. */
export function listener({ tls, ...options }: ListenerOptions = {}): Listener {
  const found = new Map<string, ServingContainer | undefined>([["app/svc", running(["127.0.0.1"])]]);
  const stopping = new AbortController();
  const containers: Pick<Containers, "findService"> = {
    findService: (project, service) => Promise.resolve(found.get(`${project}/${service}`)),
  };
  const tunnels = createTunnels(
    { containers, idleLimit: hours(1), log: silent, dialTimeout: seconds(5), ...options },
    stopping.signal,
  );
  let answers: ((request: Request) => Response | undefined) | undefined;
  const server: Bun.Server<Tunnel> = Bun.serve<Tunnel>({
    port: 0,
    hostname: "127.0.0.1",
    ...(tls === undefined ? {} : { tls }),
    fetch(request, server) {
      const own = answers?.(request);
      if (own !== undefined) return own;
      const parts = new URL(request.url).pathname.split("/").slice(1).map(decodeURIComponent);
      const [api, v1, kind, project = "", service = "", port = ""] = parts;
      if (`${api}/${v1}/${kind}` !== "api/v1/forward") return new Response("no", { status: 404 });
      return tunnels.open(request, server, { project, service, port });
    },
    websocket: tunnels.websocket,
  });
  return {
    port: server.port ?? 0,
    tunnels,
    serves: (name, target) => void found.set(name, target),
    answers: (how) => void (answers = how),
    stop: () => stopping.abort(),
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await server.stop(true);
    },
  };
}

export const running = (addresses: readonly string[], id = "c1"): ServingContainer => ({
  id,
  state: "running",
  addresses,
});

export interface Service extends AsyncDisposable {
  readonly port: number;
  readonly sockets: readonly Socket[];
}

/** Speaks first, second, or not at all; half-open, as databases are. */
export async function service(
  accept: (socket: Socket) => void,
  host = "127.0.0.1",
  allowHalfOpen = true,
): Promise<Service> {
  const sockets: Socket[] = [];
  const server: Server = createServer({ allowHalfOpen, noDelay: true }, (socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    accept(socket);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export const echo = (socket: Socket): void => {
  socket.pipe(socket);
};

/** More than the kernel holds between two who do not read, and little enough for a program that holds it all by mistake. */
const FLOOD = 128 * 1024 * 1024;

/** Writes as fast as the other side takes it, and counts what it was able to write. */
export function flood(bytes: { written: number }, total = FLOOD): (socket: Socket) => void {
  const chunk = Buffer.alloc(65_536);
  for (let i = 0; i < chunk.length; i++) chunk[i] = i * 7;
  return (socket) => {
    const go = (): void => {
      while (bytes.written < total) {
        bytes.written += chunk.length;
        if (!socket.write(chunk)) return void socket.once("drain", go);
      }
      socket.end();
    };
    go();
  };
}
