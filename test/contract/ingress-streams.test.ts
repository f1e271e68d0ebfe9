// Bodies through the ingress: at once, complete or cut off, as fast as the slower side and never faster.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { hours, milliseconds, seconds } from "../../src/lib/duration.ts";
import {
  type Client,
  type NodeServer,
  type TestIngress,
  ask,
  client,
  ingress,
  nodeServer,
  routeTo,
} from "../support/ingress.ts";
import { flood, service } from "../support/tunnel.ts";
import { elapse, settled, until } from "../support/until.ts";

setDefaultTimeout(seconds(120));

const MB = 1_000_000;
/** What kernel and both processes may buffer of a stream that is not read: measured 9 to 18 MB, nearly all of it the kernel's. */
const HELD = 96 * MB;
const LARGE = 200 * 1_048_576;
const HOUR = hours(1);
const PIECE = Buffer.alloc(65_536, "0123456789abcdef");

let backend: NodeServer;
let proxy: TestIngress;
beforeAll(async () => {
  backend = await nodeServer();
  proxy = await ingress([routeTo(backend.port)]);
});
afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await backend[Symbol.asyncDispose]();
});

function sumOf(total: number): string {
  const hash = createHash("sha256");
  for (let bytes = 0; bytes < total; bytes += PIECE.length) hash.update(PIECE);
  return hash.digest("hex");
}

test("an event of a stream arrives before there is another", async () => {
  await using one = client(proxy.port, "GET /events HTTP/1.1\r\nHost: app.test\r\n\r\n");
  expect(await one.sees("\r\n\r\n")).toContain("Content-Type: text/event-stream");
  for (const text of ["first", "second"]) {
    await fetch(`http://127.0.0.1:${backend.port}/event?text=${text}`);
    expect(await one.sees(text)).toContain(`data: ${text}\n\n`);
  }
});

test("what a client sends of a body arrives before it sends more", async () => {
  const pieces: string[] = [];
  await using sink = await service((socket) =>
    socket.on("data", (bytes) => void pieces.push(bytes.toString("latin1"))),
  );
  await using proxy = await ingress([routeTo(sink.port)]);
  await using one = client(
    proxy.port,
    "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n",
  );
  await until("the head arrives", () => pieces.join("").includes("\r\n\r\n"));
  for (const text of ["one", "two"]) {
    one.socket.write(`3\r\n${text}\r\n`);
    await until(`${text} arrives`, () => pieces.join("").includes(text));
  }
});

/** Reads a body as it comes, slowly for its first part. */
async function slowHash(socket: Socket, slowBytes: number): Promise<{ bytes: number; sha256: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  let head = "";
  const done = Promise.withResolvers<void>();
  socket.removeAllListeners("data");
  socket.on("data", (chunk) => {
    let body = chunk;
    if (!head.includes("\r\n\r\n")) {
      head += chunk.toString("latin1");
      const at = head.indexOf("\r\n\r\n");
      if (at < 0) return;
      body = Buffer.from(head.slice(at + 4), "latin1");
    }
    bytes += body.length;
    hash.update(body);
    if (bytes > slowBytes) return;
    socket.pause();
    void elapse(milliseconds(2)).then(() => socket.resume());
  });
  socket.on("close", () => done.resolve()).on("end", () => done.resolve());
  await done.promise;
  return { bytes, sha256: hash.digest("hex") };
}

test("200 MB reach a slow reader complete", async () => {
  await using one = client(
    proxy.port,
    `GET /bytes?length&n=${LARGE} HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n`,
  );
  expect(await slowHash(one.socket, 8 * MB)).toEqual({ bytes: LARGE, sha256: sumOf(LARGE) });
});

test("200 MB are taken from a client complete", async () => {
  await using one = client(
    proxy.port,
    `POST /sum HTTP/1.1\r\nHost: app.test\r\nContent-Length: ${LARGE}\r\n\r\n`,
  );
  let bytes = 0;
  const go = (): void => {
    while (bytes < LARGE) {
      bytes += PIECE.length;
      if (!one.socket.write(PIECE)) return void one.socket.once("drain", go);
    }
  };
  go();
  expect(await one.sees("trailers")).toContain(`"bytes":${LARGE},"sha256":"${sumOf(LARGE)}"`);
});

test("a client that stops reading stops the server behind", async () => {
  await using one = client(proxy.port, `GET /bytes?n=${LARGE} HTTP/1.1\r\nHost: app.test\r\n\r\n`);
  await one.sees("\r\n\r\n");
  one.socket.pause();
  expect(await settled(async () => (await backend.seen()).written)).toBeLessThan(HELD);
});

test("a server that does not read stops the client", async () => {
  await using one = client(
    proxy.port,
    "POST /unread HTTP/1.1\r\nHost: app.test\r\nContent-Length: 999999999999\r\n\r\n",
  );
  const bytes = { written: 0 };
  flood(bytes)(one.socket);
  expect(await settled(() => bytes.written - one.socket.writableLength)).toBeLessThan(HELD);
});

test.each(["length", "chunked"])(
  "an answer that breaks off is broken off for the client, too (%s)",
  async (how) => {
    await using one = client(proxy.port, `GET /cut?${how} HTTP/1.1\r\nHost: app.test\r\n\r\n`);
    const text = await one.ends();
    expect(text.length).toBeGreaterThan(60_000);
    expect(text).not.toEndWith("0\r\n\r\n");
    expect(text.length).toBeLessThan(500_000);
  },
);

/** What a client sees at the end of its connection: its proper end, or that it was reset. */
async function endOf(one: Client): Promise<"end" | "reset"> {
  const { promise, resolve } = Promise.withResolvers<"end" | "reset">();
  one.socket.once("end", () => resolve("end")).once("error", () => resolve("reset"));
  return promise;
}

const OLD = "HTTP/1.0\r\nHost: app.test\r\n\r\n";

test("an answer that broke is not taken for a whole one by HTTP/1.0, which has no chunks", async () => {
  await using one = client(proxy.port, `GET /cut ${OLD}`);
  expect(await endOf(one)).toBe("reset");
  expect(one.text()).toContain("0123456789abcdef");
});

test("an answer that stands still for too long is not taken for a whole one by HTTP/1.0", async () => {
  await using proxy = await ingress([routeTo(backend.port)], { idle: milliseconds(300) });
  await using one = client(proxy.port, `GET /events ${OLD}`);
  expect(await endOf(one)).toBe("reset");
});

test("an answer under way when the agent stops is not taken for a whole one by HTTP/1.0", async () => {
  const proxy = await ingress([routeTo(backend.port)]);
  await using one = client(proxy.port, `GET /events ${OLD}`);
  await one.sees("\r\n\r\n");
  const end = endOf(one);
  await proxy[Symbol.asyncDispose]();
  expect(await end).toBe("reset");
});

test("a server that is killed in the middle breaks the answer off", async () => {
  await using own = await nodeServer();
  await using proxy = await ingress([routeTo(own.port)]);
  await using one = client(proxy.port, `GET /bytes?length&n=${LARGE} HTTP/1.1\r\nHost: app.test\r\n\r\n`);
  await one.sees("0123456789abcdef");
  // Most of it is still to come then.
  one.socket.removeAllListeners("data").pause();
  own.kill();
  one.socket.resume();
  await one.ends();
});

test.each([
  ["waits", "GET /hang HTTP/1.1\r\nHost: app.test\r\n\r\n"],
  ["reads", `GET /bytes?n=${LARGE} HTTP/1.1\r\nHost: app.test\r\n\r\n`],
  ["sends", "POST /sum HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100\r\n\r\nabc"],
])(
  "when a client disconnects while it %s, the server's request is aborted, which is no failure",
  async (_, head) => {
    await using own = await nodeServer();
    await using proxy = await ingress([routeTo(own.port)]);
    const one = client(proxy.port, head);
    // So that the stream does not end before the client disconnects.
    one.socket.once("data", () => one.socket.pause());
    // The question is a request, too.
    let asked = 0;
    await until("the request has come", async () => (await own.seen()).requests > ++asked);
    one.socket.destroy();
    await until("it is aborted", async () => (await own.seen()).aborted > 0);
    expect(proxy.status().failed).toBe(0);
  },
);

test("an upload may take longer than the time for an answer, which begins behind it", async () => {
  await using proxy = await ingress([routeTo(backend.port)], { header: seconds(3) });
  await using one = client(proxy.port, "POST /sum HTTP/1.1\r\nHost: app.test\r\nContent-Length: 20\r\n\r\n");
  for (let n = 0; n < 20; n++) {
    one.socket.write("x");
    await elapse(milliseconds(200));
  }
  expect(await one.sees("sha256")).toContain('"bytes":20');
});

test("an answer that comes before the whole request is passed on, and the connection stays in step", async () => {
  await using early = await service((socket) =>
    socket.once("data", () => void socket.write("HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")),
  );
  await using proxy = await ingress([routeTo(early.port), routeTo(backend.port, "other.test")]);
  const body = "GET /smuggled HTTP/1.1\r\nHost: other.test\r\n\r\n";
  await using one = client(
    proxy.port,
    `POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: ${body.length}\r\n\r\n`,
  );
  await one.sees("no");
  one.socket.write(`${body}GET /next HTTP/1.1\r\nHost: other.test\r\n\r\n`);
  const text = await one.sees("/next");
  expect(text).not.toContain("smuggled");
});

test(
  "when the agent stops, it does not wait for a request of which only the beginning came",
  async () => {
    const proxy = await ingress([routeTo(backend.port)], { grace: HOUR, head: HOUR, keepAlive: HOUR });
    const beginning = "GET / HTTP/1.1\r\nHost: app.test\r\nX-A: ";
    await using first = client(proxy.port, beginning);
    await using second = client(proxy.port, "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    await second.sees("\r\n\r\n");
    second.socket.write(beginning);
    // Both have arrived before this one, which is answered.
    await ask(proxy.port, "GET / HTTP/1.1\nHost: app.test");
    await proxy[Symbol.asyncDispose]();
    await first.ends();
    await second.ends();
  },
  seconds(30),
);

test("when the agent stops, what is under way has its grace, and new connections are refused", async () => {
  const proxy = await ingress([routeTo(backend.port)], { grace: seconds(30) });
  await using one = client(proxy.port, "GET /events HTTP/1.1\r\nHost: app.test\r\n\r\n");
  await one.sees("\r\n\r\n");
  const stopped = proxy[Symbol.asyncDispose]();
  await until("it listens no more", () => proxy.status().address === undefined);
  await fetch(`http://127.0.0.1:${backend.port}/event?text=late`);
  expect(await one.sees("late")).toContain("data: late");
  one.socket.destroy();
  await stopped;
  expect(await ask(proxy.port, "GET / HTTP/1.1\nHost: app.test")).toEqual({ head: "", body: "" });
});
