// The control plane of the contract tests: a sandbox that can go away and come back, and a gateway that counts and interferes.
import { join } from "node:path";
import { type Sandbox, type SandboxOptions, startSandbox } from "../../src/sandbox/sandbox.ts";

export interface ControlPlane extends AsyncDisposable {
  /** The one that runs now: another object after `restarts`. */
  readonly sandbox: Sandbox;
  readonly url: string;
  /** Cuts every connection, as a stopped API does; its data stay. */
  goesAway(): Promise<void>;
  /** Comes back on the same port with the same data, and without faults unless some are given. */
  comesBack(options?: SandboxOptions): Promise<void>;
}

/** Clocks of the server that only cost a test its time. */
const QUICK = { claimStep: 10 };

/** Keeps its data in `directory`. Throttling is off unless a test asks for it. */
export async function controlPlane(directory: string, options: SandboxOptions = {}): Promise<ControlPlane> {
  const fixed: SandboxOptions = {
    throttle: false,
    data: join(directory, "sandbox"),
    operatorToken: "operator-token-of-the-tests-0001",
    ...options,
    timings: { ...QUICK, ...options.timings },
  };
  let sandbox = await startSandbox(fixed);
  const { port, url } = sandbox;
  return {
    get sandbox() {
      return sandbox;
    },
    url,
    goesAway: () => sandbox.stop(),
    async comesBack(again = {}) {
      await sandbox.stop();
      sandbox = await startSandbox({ ...fixed, faults: {}, ...again, port });
    },
    [Symbol.asyncDispose]: () => sandbox.stop(),
  };
}

export interface Seen {
  /** The last part of the path: "claim", "started", "logs" … */
  readonly route: string;
  readonly at: number;
  readonly body: Record<string, unknown>;
  /** Undefined while it is open, and when its connection was cut. */
  status?: number;
}

type Forward = () => Promise<Response>;
/** Answers in the server's place, or lets the request through. */
export type Interference = (route: string, forward: Forward) => Response | Promise<Response>;

export interface Gateway extends Disposable {
  readonly url: string;
  readonly seen: Seen[];
  /** How often a route was called. */
  count(route: string): number;
  /** The most requests of a route that were open at the same time. */
  peak(route: string): number;
  interfere(how: Interference | undefined): void;
}

/** Stands between agent and server, as a reverse proxy does, and keeps a record. */
export function gateway(upstream: string): Gateway {
  const seen: Seen[] = [];
  const open = new Map<string, number>();
  const peaks = new Map<string, number>();
  let interference: Interference | undefined;
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    idleTimeout: 255,
    async fetch(request) {
      const { pathname } = new URL(request.url);
      const route = pathname.split("/").at(-1) ?? "";
      const text = await request.text();
      const entry: Seen = { route, at: Date.now(), body: parse(text) };
      seen.push(entry);
      const now = (open.get(route) ?? 0) + 1;
      open.set(route, now);
      peaks.set(route, Math.max(now, peaks.get(route) ?? 0));
      const { method, headers } = request;
      const forward: Forward = () =>
        fetch(upstream + pathname, {
          method,
          headers,
          keepalive: false,
          ...(text === "" ? {} : { body: text }),
        });
      try {
        const answer = await (interference === undefined ? forward() : interference(route, forward));
        entry.status = answer.status;
        return new Response(await answer.arrayBuffer(), {
          status: answer.status,
          headers: answer.headers.has("retry-after")
            ? { "retry-after": answer.headers.get("retry-after") ?? "" }
            : {},
        });
      } catch {
        return cut();
      } finally {
        open.set(route, (open.get(route) ?? 1) - 1);
      }
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    seen,
    count: (route) => seen.filter((entry) => entry.route === route).length,
    peak: (route) => peaks.get(route) ?? 0,
    interfere(how) {
      interference = how;
    },
    [Symbol.dispose]() {
      void server.stop(true);
    },
  };
}

/** The API's way to say no. */
export const refusal = (statusCode: number, message: string): Response =>
  Response.json(
    { statusCode, message, path: "/", timestamp: new Date().toISOString() },
    { status: statusCode },
  );

const cut = (): Response =>
  new Response(
    new ReadableStream({
      start(controller) {
        controller.error();
      },
    }),
  );

function parse(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}
