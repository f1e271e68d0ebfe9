// An ingress on a port of its own, what it leads to, and a client that writes its requests byte by byte.
import { type Socket, connect } from "node:net";
import { join } from "node:path";
import { LoopRegistry } from "../../src/lib/loop.ts";
import type { IngressRoute } from "../../src/listener/containers.ts";
import { type IngressPorts, type IngressStatus, startIngress } from "../../src/listener/ingress/ingress.ts";
import { createLog } from "../../src/platform/log.ts";
import { until } from "./until.ts";

export const SCRIPT = join(import.meta.dir, "ingress-node.mjs");

export interface TestIngress extends AsyncDisposable {
  readonly port: number;
  readonly status: () => IngressStatus;
  readonly lines: readonly string[];
  /** From now on. */
  leads(...routes: IngressRoute[]): void;
}

export const routeTo = (
  port: number,
  host = "app.test",
  address: string | undefined = "127.0.0.1",
): IngressRoute => ({
  host,
  project: "app",
  service: "web",
  address,
  port,
});

export async function ingress(
  routes: readonly IngressRoute[],
  limits: NonNullable<IngressPorts["limits"]> = {},
): Promise<TestIngress> {
  const stopping = new AbortController();
  const lines: string[] = [];
  let now = routes;
  const running = startIngress(
    {
      address: "127.0.0.1:0",
      routes: () => now,
      registry: new LoopRegistry(),
      log: createLog({ level: "debug", format: "human", write: (line) => void lines.push(line) }),
      limits: { grace: 0, ...limits },
    },
    stopping.signal,
  );
  await until("the ingress listens", () => running.status().address !== undefined);
  return {
    port: Number(running.status().address?.split(":").at(-1)),
    status: () => running.status(),
    lines,
    leads: (...routes) => void (now = routes),
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await running.done;
    },
  };
}

export interface NodeServer extends AsyncDisposable {
  readonly port: number;
  readonly pid: number;
  /** What it saw so far: asked for past the ingress. */
  seen(): Promise<{
    written: number;
    aborted: number;
    requests: number;
    connections: number;
    smuggled?: string;
  }>;
  kill(): void;
}

/** What it serves stands in the script. */
export async function nodeServer(): Promise<NodeServer> {
  const server = Bun.spawn(["node", SCRIPT, "serve"], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  const reader = server.stdout.getReader();
  const { value } = await reader.read();
  const port = Number(new TextDecoder().decode(value));
  return {
    port,
    pid: server.pid,
    seen: async () =>
      (await (await fetch(`http://127.0.0.1:${port}/seen`)).json()) as Awaited<
        ReturnType<NodeServer["seen"]>
      >,
    kill: () => server.kill("SIGKILL"),
    async [Symbol.asyncDispose]() {
      server.kill("SIGKILL");
      await server.exited;
    },
  };
}

export interface Client extends AsyncDisposable {
  readonly socket: Socket;
  /** Latin-1. */
  readonly text: () => string;
  readonly isClosed: () => boolean;
  /** Resolves with all text so far, when it matches or the connection is closed. */
  sees(pattern: RegExp | string): Promise<string>;
  ends(): Promise<string>;
}

/** Of what came; the rest is only read. */
const KEPT_MAX = 64 * 1024 * 1024;

/** Bytes as they stand: nothing about a request is decided by a library. */
export function client(port: number, text = ""): Client {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  const pieces: string[] = [];
  let isClosed = false;
  let kept = 0;
  socket.on("data", (bytes) => {
    kept += bytes.length;
    if (kept <= KEPT_MAX) pieces.push(bytes.toString("latin1"));
  });
  socket.on("error", () => {});
  socket.on("end", () => void (isClosed = true));
  socket.on("close", () => void (isClosed = true));
  socket.write(text, "latin1");
  const all = (): string => pieces.join("");
  return {
    socket,
    text: all,
    isClosed: () => isClosed,
    async sees(pattern) {
      const holds = (): boolean =>
        typeof pattern === "string" ? all().includes(pattern) : pattern.test(all());
      await until(
        `${pattern} comes`,
        () => isClosed || holds(),
        undefined,
        () => `, but ${all().slice(0, 500)}`,
      );
      return all();
    },
    async ends() {
      await until(
        "the connection ends",
        () => isClosed,
        undefined,
        () => `, but ${all().slice(0, 500)}`,
      );
      return all();
    },
    async [Symbol.asyncDispose]() {
      socket.destroy();
      await until("the client is gone", () => socket.closed);
    },
  };
}

/** One request on a connection of its own; what comes back, as it came. */
export async function ask(port: number, head: string, body = ""): Promise<{ head: string; body: string }> {
  const lines = head
    .trim()
    .split("\n")
    .map((line) => line.trim());
  await using one = client(port, `${[...lines, "Connection: close", "", ""].join("\r\n")}${body}`);
  const text = await one.ends();
  const at = text.indexOf("\r\n\r\n");
  return { head: text.slice(0, at), body: text.slice(at + 4) };
}

export interface ReceivedRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: readonly string[];
}

/** The request as the server behind received it: its answer holds it. */
export async function received(port: number, head: string, body = ""): Promise<ReceivedRequest> {
  const answer = await ask(port, head, body);
  if (!answer.head.startsWith("HTTP/1.1 200 ")) throw new Error(`${answer.head}\n${answer.body}`);
  return JSON.parse(answer.body) as ReceivedRequest;
}

/** All values of a header that was received, in order. */
export const valuesIn = ({ headers }: ReceivedRequest, name: string): string[] =>
  headers.filter((_, at) => at % 2 === 1 && headers[at - 1]?.toLowerCase() === name);
