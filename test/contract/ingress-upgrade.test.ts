// WebSockets and other protocols through the ingress, between Node's `ws` on both sides, Bun's, and bytes.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { milliseconds, seconds } from "../../src/lib/duration.ts";
import {
  type NodeServer,
  SCRIPT,
  type TestIngress,
  client,
  ingress,
  nodeServer,
  routeTo,
} from "../support/ingress.ts";
import { service } from "../support/tunnel.ts";
import { elapse, until } from "../support/until.ts";

setDefaultTimeout(seconds(150));

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

const upgrade = (path: string, protocol = "echo/1"): string =>
  `GET ${path} HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`;

test("a WebSocket keeps subprotocol, compression, pings, large messages and close code", async () => {
  const url = `ws://127.0.0.1:${proxy.port}/ws`;
  const process = Bun.spawn(["node", SCRIPT, "websocket", url, "app.test"], { stderr: "inherit" });
  expect(await new Response(process.stdout).json()).toEqual({
    messages: ["hello", "pong hello", true],
    protocol: "first",
    extensions: "permessage-deflate",
    closed: [4_001, "as you wish"],
  });
});

test("a WebSocket of Bun's reaches a server of Bun's", async () => {
  using server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request, server) => (server.upgrade(request) ? undefined : new Response("no")),
    websocket: { message: (socket, message) => void socket.send(`${String(message)}!`) },
  });
  await using proxy = await ingress([routeTo(server.port ?? 0, "127.0.0.1")]);
  const socket = new WebSocket(`ws://127.0.0.1:${proxy.port}/`);
  const answer = await new Promise((resolve, reject) => {
    socket.addEventListener("open", () => socket.send("hello"));
    socket.addEventListener("message", ({ data }) => resolve(data));
    socket.addEventListener("error", reject);
  });
  expect(answer).toBe("hello!");
  socket.close();
});

test("another protocol passes as bytes, from the first behind the head on, and each side ends for itself", async () => {
  await using one = client(proxy.port, `${upgrade("/any")}early `);
  expect(await one.sees("early")).toBe(
    "HTTP/1.1 101 Go\r\nX-Also: 1\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\nfirst early ",
  );
  one.socket.write("\x00\xff late", "latin1");
  await one.sees("\x00\xff late");
  one.socket.end("last");
  expect(await one.ends()).toEndWith("last");
});

test("a refused change of protocol is an ordinary answer, and the last of its connection", async () => {
  await using one = client(proxy.port, upgrade("/forbidden"));
  // As if the ingress had joined the two ends already.
  one.socket.write("GET /smuggled HTTP/1.1\r\nHost: internal.test\r\nX-Forwarded-For: 10.9.9.9\r\n\r\n");
  const text = await one.ends();
  expect(text).toStartWith("HTTP/1.1 403 Forbidden\r\n");
  expect(text).toEndWith("no");
  expect(text).toContain("Connection: close");
  expect((await backend.seen()).smuggled).toBeUndefined();
});

test.each(["h2c", "HTTP/2.0", "TLS/1.0"])(
  "a change to %s is not passed on, the request is",
  async (protocol) => {
    await using one = client(proxy.port, upgrade("/plain", protocol));
    const text = await one.sees("/plain");
    expect(text).toStartWith("HTTP/1.1 200 OK");
    expect(text).not.toMatch(/"Upgrade"/i);
  },
);

test("a change that comes with a body is not passed on, the body is", async () => {
  const head = upgrade("/sum")
    .replace("GET", "POST")
    .replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n12345");
  await using one = client(proxy.port, head);
  expect(await one.sees("sha256")).toContain('"bytes":5');
});

test("an upgrade to a host without a container gets the same page", async () => {
  await using one = client(proxy.port, upgrade("/any").replace("app.test", "other.test"));
  const text = await one.ends();
  expect(text).toStartWith("HTTP/1.1 502 ");
  expect(text).toContain("</html>");
});

test("when the container dies its connections are closed", async () => {
  await using own = await nodeServer();
  await using proxy = await ingress([routeTo(own.port)]);
  await using one = client(proxy.port, upgrade("/any"));
  await one.sees("first");
  own.kill();
  await one.ends();
});

test("when the client disconnects the container's end is closed", async () => {
  let isClosed = false;
  await using server = await service((socket) => {
    socket.once("data", () =>
      socket.write("HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\nhi"),
    );
    socket.resume().on("close", () => void (isClosed = true));
    socket.on("end", () => socket.end());
  });
  await using proxy = await ingress([routeTo(server.port)]);
  const one = client(proxy.port, upgrade("/any"));
  await one.sees("hi");
  one.socket.destroy();
  await until("it is closed", () => isClosed);
});

test("a connection over which nothing passes any more is closed in the end", async () => {
  await using proxy = await ingress([routeTo(backend.port)], { tunnel: milliseconds(300) });
  await using one = client(proxy.port, upgrade("/any"));
  await one.sees("first");
  await one.ends();
});

test("an upgraded connection outlives the times that are for requests", async () => {
  const short = milliseconds(200);
  await using proxy = await ingress([routeTo(backend.port)], {
    header: short,
    idle: short,
    keepAlive: short,
    head: short,
  });
  await using one = client(proxy.port, upgrade("/any"));
  await one.sees("first");
  await elapse(5 * short);
  one.socket.write("still here");
  await one.sees("still here");
  expect(one.isClosed()).toBe(false);
});
