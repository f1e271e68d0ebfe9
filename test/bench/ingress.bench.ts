// Requests through the ingress beside the same requests to the server behind it: rate, latency, bytes, memory.
//
// Server, ingress and client are a process each; all three share the machine's cores, directly as through the ingress.
import { createServer } from "node:http";
import { type Duration, seconds } from "../../src/lib/duration.ts";
import { LoopRegistry } from "../../src/lib/loop.ts";
import { startIngress } from "../../src/listener/ingress/ingress.ts";
import { silent } from "../../src/platform/log.ts";
import type { Bench } from "./bench.ts";
import { growthDuring, once, settledMemory } from "./process-figures.ts";
import { until } from "../support/until.ts";

const LARGE = 1_000_000;
const FOR: Duration = seconds(2);
const REPETITIONS = 5;

if (import.meta.main) {
  const [mode, port] = process.argv.slice(2);
  if (mode === "server") serve();
  else await proxy(Number(port));
}

function serve(): void {
  const large = Buffer.alloc(LARGE, "a");
  const server = createServer((request, response) =>
    response.end(request.url === "/large" ? large : "hello, world\n"),
  );
  server.keepAliveTimeout = seconds(60);
  server.listen(0, "127.0.0.1", () => {
    const address = server.address();
    process.stdout.write(`${typeof address === "object" ? address?.port : ""}\n`);
  });
}

async function proxy(port: number): Promise<void> {
  const routes = [{ host: "app.test", project: "app", service: "web", address: "127.0.0.1", port }];
  const { signal } = new AbortController();
  const registry = new LoopRegistry();
  const ports = { address: "127.0.0.1:0", routes: () => routes, registry, log: silent };
  const ingress = startIngress(ports, signal);
  await until("the ingress listens", () => ingress.status().address !== undefined);
  process.stdout.write(`${ingress.status().address?.split(":").at(-1)}\n`);
  await ingress.done;
}

/** A process of this file, and the port it prints. */
async function child(...args: string[]) {
  const command = [process.execPath, import.meta.path, ...args];
  const process_ = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
  const { value } = await process_.stdout.getReader().read();
  return {
    pid: process_.pid,
    port: Number(new TextDecoder().decode(value)),
    async [Symbol.asyncDispose]() {
      process_.kill();
      await process_.exited;
    },
  };
}

interface Load {
  readonly port: number;
  readonly path: string;
  readonly connections: number;
}

/** One request after the other on each connection. Resolves with the time each took, in milliseconds. */
async function load({ port, path, connections }: Load): Promise<number[]> {
  const request = `GET ${path} HTTP/1.1\r\nHost: app.test\r\n\r\n`;
  const times: number[] = [];
  const end = performance.now() + FOR;
  await Promise.all(
    Array.from({ length: connections }, async () => {
      const done = Promise.withResolvers<void>();
      let begun = 0;
      /** Bytes of the answer that are still to come; below zero while its head is not complete. */
      let left = -1;
      let head = "";
      function ask(socket: Bun.Socket): void {
        [begun, left, head] = [performance.now(), -1, ""];
        socket.write(request);
      }
      await Bun.connect({
        hostname: "127.0.0.1",
        port,
        socket: {
          open: ask,
          data(socket, bytes) {
            if (left < 0) {
              head += bytes.toString("latin1");
              const at = head.indexOf("\r\n\r\n");
              if (at < 0) return;
              left = Number(/content-length: (\d+)/i.exec(head)?.[1]) - (head.length - at - 4);
            } else left -= bytes.length;
            if (left > 0) return;
            times.push(performance.now() - begun);
            if (performance.now() < end) ask(socket);
            else socket.end();
          },
          error: (_, error) => done.reject(error),
          connectError: (_, error) => done.reject(error),
          close: () => done.resolve(),
        },
      });
      await done.promise;
    }),
  );
  return times.sort((a, b) => a - b);
}

const at = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;

interface Figures {
  readonly rate: number[];
  readonly p50: number[];
  readonly p99: number[];
}

/** By turns, so that both meet the same machine. */
const both = (path: string, connections: number) =>
  once(async () => {
    await using server = await child("server");
    await using proxy = await child("ingress", String(server.port));
    const figures = (): Figures => ({ rate: [], p50: [], p99: [] });
    const [direct, through] = [figures(), figures()];
    await load({ port: proxy.port, path, connections });
    for (let n = 0; n < REPETITIONS; n++) {
      for (const [{ rate, p50, p99 }, port] of [
        [direct, server.port],
        [through, proxy.port],
      ] as const) {
        const times = await load({ port, path, connections });
        rate.push(times.length / (FOR / 1_000));
        p50.push(at(times, 0.5));
        p99.push(at(times, 0.99));
      }
    }
    return { direct, through };
  });

const one = both("/small", 1);
const many = both("/small", 32);
const large = both("/large", 8);

/** How much it holds more than at rest, at most, while eight clients load large bodies. */
const memory = once(async () => {
  await using server = await child("server");
  await using proxy = await child("ingress", String(server.port));
  const rest = await settledMemory(proxy.pid, seconds(1));
  const growth = await growthDuring(proxy.pid, async () => {
    for (let n = 0; n < 3; n++) await load({ port: proxy.port, path: "/large", connections: 8 });
  });
  return { rest, growth };
});

type Which = "direct" | "through";
const WORDS: Record<Which, string> = { direct: "direct", through: "through the ingress" };
const figure = (
  name: string,
  unit: string,
  better: "less" | "more",
  run: () => Promise<number[]>,
): Bench => ({
  name: `ingress: ${name}`,
  unit,
  better,
  run,
});

export default (["direct", "through"] as const)
  .flatMap((which) => [
    figure(`one client, ${WORDS[which]}, p50`, "ms", "less", async () => (await one())[which].p50),
    figure(`32 clients, ${WORDS[which]}`, "req/s", "more", async () => (await many())[which].rate),
    figure(`32 clients, ${WORDS[which]}, p50`, "ms", "less", async () => (await many())[which].p50),
    figure(`32 clients, ${WORDS[which]}, p99`, "ms", "less", async () => (await many())[which].p99),
    figure(`8 clients of 1 MB, ${WORDS[which]}`, "MB/s", "more", async () =>
      (await large())[which].rate.map((rate) => (rate * LARGE) / 1e6),
    ),
    figure(`8 clients of 1 MB, ${WORDS[which]}, p99`, "ms", "less", async () => (await large())[which].p99),
  ])
  .concat([
    figure("memory at rest, a process of its own", "MB", "less", async () => [(await memory()).rest]),
    figure("growth under 8 clients of 1 MB", "MB", "less", async () => [(await memory()).growth]),
  ]);
