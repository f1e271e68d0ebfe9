// The agent's HTTP server for tests, on containers that are made up, and requests as bytes, which no client would send.
import { type Socket, connect } from "node:net";
import { expect } from "bun:test";
import * as v from "valibot";
import { type Duration, hours } from "../../src/lib/duration.ts";
import { LoopRegistry } from "../../src/lib/loop.ts";
import type { Containers, ContainerLogQuery, ServingContainer } from "../../src/listener/containers.ts";
import {
  type Listener,
  type ListenerPorts,
  type ListenerSettings,
  startListener,
} from "../../src/listener/listener.ts";
import { problem } from "../../src/listener/problem.ts";
import type { Tunnels } from "../../src/listener/tunnels-port.ts";
import { createLog } from "../../src/platform/log.ts";
import { turn, until } from "./until.ts";

/** Who reads on where nobody takes it shall not fill the machine: then nothing more comes, and no end either. */
const LOG_MAX = 64 * 1_024 * 1_024;
/** Of an answer. */
const HEARD_MAX = 1_024 * 1_024;

/** Containers by "project/service", and what was asked of them. */
export class MadeUpContainers implements Containers {
  readonly targets = new Map<string, ServingContainer>();
  readonly asked: string[] = [];
  readonly queries: ContainerLogQuery[] = [];
  /** Logs that are being read. */
  reading = 0;
  /** Bytes that were taken of logs. */
  taken = 0;
  /** What a log holds, 64 MB of it at most; one that is followed waits after it until it is left. */
  log: () => Iterable<string | Uint8Array> = () => ["one\n", "two\n"];
  failure: Error | undefined;

  async findService(project: string, service: string): Promise<ServingContainer | undefined> {
    this.asked.push(`${project}/${service}`);
    await turn();
    if (this.failure !== undefined) throw this.failure;
    return this.targets.get(`${project}/${service}`);
  }

  async logs(_id: string, query: ContainerLogQuery, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    this.queries.push(query);
    await turn();
    return this.#pieces(query.follow, signal);
  }

  async *#pieces(follow: boolean, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    this.reading++;
    try {
      for (const piece of this.log()) {
        if (signal.aborted) return;
        const bytes = Buffer.from(piece);
        this.taken += bytes.length;
        yield bytes;
        if (this.taken >= LOG_MAX) break;
      }
      if ((follow || this.taken >= LOG_MAX) && !signal.aborted)
        await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    } finally {
      this.reading--;
    }
  }
}

/** A tunnel that echoes; `connections` are open now. */
export function echoTunnels(): Tunnels<undefined> & { readonly opened: string[] } {
  const opened: string[] = [];
  let open = 0;
  return {
    opened,
    async open(request, server, { project, service, port }) {
      await turn();
      if (!server.upgrade(request, { data: undefined }))
        return problem(426, "Upgrade Required", "ask for a WebSocket");
      opened.push(`${project}/${service}:${port}`);
      return undefined;
    },
    websocket: {
      open: () => void open++,
      close: () => void open--,
      message: (client, message) => void client.send(message),
    },
    count: () => open,
  };
}

export interface ListenerHarness extends AsyncDisposable {
  readonly listener: Listener;
  readonly containers: MadeUpContainers;
  readonly tunnels: ReturnType<typeof echoTunnels>;
  readonly registry: LoopRegistry;
  readonly lines: string[];
  readonly port: number;
  /** With `Host` and the scheme that fit. */
  get(path: string, headers?: Record<string, string>): Promise<Response>;
  stop(): Promise<void>;
}

const SETTINGS: ListenerSettings = {
  listen_address: "127.0.0.1",
  listen_port: 0,
  allow_forward: true,
  listen_allow: undefined,
  listen_token: undefined,
  listen_local: "docker",
  listen_hosts: undefined,
  listen_origins: undefined,
  listen_tls_cert: undefined,
  listen_tls_key: undefined,
  tunnel_idle_limit: hours(1),
};

export const listenerSettings = (change: Partial<ListenerSettings>): ListenerSettings => ({
  ...SETTINGS,
  ...change,
});

export async function startTestListener(
  change: Partial<ListenerSettings> = {},
  ports: Partial<ListenerPorts<undefined>> = {},
): Promise<ListenerHarness> {
  const containers = new MadeUpContainers();
  containers.targets.set("shop/web", { id: "c1", state: "running", addresses: ["10.0.0.2"] });
  containers.targets.set("shop/job", { id: "c2", state: "exited", addresses: [] });
  const tunnels = echoTunnels();
  const registry = new LoopRegistry();
  const lines: string[] = [];
  const log = createLog({ level: "debug", format: "json", write: (line) => void lines.push(line) });
  const end = new AbortController();
  const own: ListenerPorts<undefined> = {
    containers,
    tunnels,
    names: ["node-1"],
    loops: () => registry.all(),
    registry,
    log,
    ...ports,
  };
  const listener = startListener(own, listenerSettings(change), end.signal);
  await until("it listens", () => listener.port() !== undefined);
  const port = listener.port() ?? 0;
  const scheme = change.listen_tls_cert === undefined ? "http" : "https";
  const stop = (): Promise<void> => {
    end.abort();
    return listener.done;
  };
  return {
    listener,
    containers,
    tunnels,
    registry,
    lines,
    port,
    stop,
    get: (path, headers = {}) =>
      fetch(`${scheme}://127.0.0.1:${port}${path}`, { headers, tls: { rejectUnauthorized: false } }),
    [Symbol.asyncDispose]: stop,
  };
}

/** Sends these bytes; resolves with what came until the other side closed, was silent for `quiet`, or had sent a megabyte. */
export function rawRequest(port: number, bytes: string | Uint8Array, quiet: Duration): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect(port, "127.0.0.1");
    const done = (): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(quiet, done);
    socket.on("data", (data) => {
      answer += data.toString("latin1");
      if (answer.length > HEARD_MAX) done();
    });
    socket.on("close", done);
    socket.on("error", done);
    socket.write(bytes);
  });
}

/** A connection that sent this. */
export function open(port: number, request: string): Socket & { heard(): string; isClosed(): boolean } {
  const socket = connect(port, "127.0.0.1");
  let heard = "";
  let closed = false;
  socket.on("data", (data) => {
    if (heard.length < HEARD_MAX) heard += data.toString();
  });
  socket.on("close", () => (closed = true));
  socket.on("error", () => {});
  socket.write(request);
  return Object.assign(socket, { heard: () => heard, isClosed: () => closed });
}

const Problem = v.object({
  type: v.literal("about:blank"),
  title: v.string(),
  status: v.number(),
  detail: v.string(),
});
/** The document; fails where the answer is none. */
export const problemOf = async (answer: Response): Promise<{ status: number; detail: string }> => {
  expect(answer.headers.get("content-type")).toBe("application/problem+json");
  const body = v.parse(Problem, await answer.json());
  expect(body.status).toBe(answer.status);
  return body;
};
