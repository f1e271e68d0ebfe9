// Tunnels of the agent, over real sockets: services that speak first, flood, stall, break off, and their clients too.
import { expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync } from "node:fs";
import type { Socket } from "node:net";
import { connect, createServer } from "node:net";
import { milliseconds } from "../../src/lib/duration.ts";
import { forwardPath } from "../../src/protocol/caravanserai/tunnel.ts";
import { type Listener, echo, flood, listener, running, service } from "../support/tunnel.ts";
import { tunnelClient } from "../support/tunnel-client.ts";
import { elapse, settled, until } from "../support/until.ts";

setDefaultTimeout(150_000);

const MB = 1024 * 1024;

interface WsReport {
  received: number;
  sent: string;
  heard: string;
  protocol: string;
  extensions: string;
  code: number;
  reason: string;
  refusal: { status: number; body: string } | null;
}

async function wsUnderNode(
  { port }: Listener,
  remote: number,
  task: Readonly<Record<string, unknown>>,
): Promise<WsReport> {
  const url = `ws://127.0.0.1:${port}${forwardPath("app", "svc", remote)}`;
  const script = new URL("../support/ws-client.mjs", import.meta.url).pathname;
  const child = Bun.spawn(["node", script, JSON.stringify({ url, ...task })], { stderr: "inherit" });
  return JSON.parse(await child.stdout.text()) as WsReport;
}

/** Why there was no tunnel. */
const refused = (opening: Promise<unknown>): Promise<unknown> =>
  opening.then(
    () => Promise.reject(new Error("the tunnel was opened")),
    (error: unknown) => error,
  );

const ask = ({ port }: Listener, path: string): Promise<Response> => fetch(`http://127.0.0.1:${port}${path}`);
const upgrade = { upgrade: "websocket", connection: "Upgrade" };

test.each(["0", "65536", "-1", "80a", "080808", "%20"])("port %s is refused with 400", async (port) => {
  await using agent = listener();
  const answer = await ask(agent, `/api/v1/forward/app/svc/${port}`);
  expect(answer.status).toBe(400);
  expect(await answer.json()).toMatchObject({ status: 400, title: "Bad Request" });
});

test("a service without a container is refused with 404, one that does not run with 503", async () => {
  await using agent = listener();
  agent.serves("app/old", { id: "c9", state: "exited", addresses: [] });
  expect((await ask(agent, "/api/v1/forward/app/none/80")).status).toBe(404);
  const answer = await ask(agent, "/api/v1/forward/app/old/80");
  expect(answer.status).toBe(503);
  expect(answer.headers.get("content-type")).toBe("application/problem+json");
  expect(await answer.json()).toMatchObject({ detail: expect.stringContaining("exited") });
});

test("a port that nothing listens on is refused with 502 before the upgrade", async () => {
  const closed = createServer();
  await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
  const { port } = closed.address() as { port: number };
  await new Promise((resolve) => closed.close(resolve));
  await using agent = listener();
  const report = await wsUnderNode(agent, port, {});
  expect(report.refusal?.status).toBe(502);
  expect(report.refusal?.body).toContain("connection refused");
  expect(agent.tunnels.count()).toBe(0);
});

test("an address that does not answer is refused with 502 within the limit", async () => {
  // Stopped, with its short queue full, it lets the kernel answer no more connections.
  const code =
    "const s = require('net').createServer().listen(0, '127.0.0.1', 1, () => console.log(s.address().port))";
  const deaf = Bun.spawn(["node", "-e", code], { stdout: "pipe" });
  const fillers: Socket[] = [];
  try {
    const { value } = await deaf.stdout.getReader().read();
    const port = Number(new TextDecoder().decode(value));
    deaf.kill("SIGSTOP");
    for (let full = false; !full;) {
      const filler = connect(port, "127.0.0.1").on("error", () => {});
      fillers.push(filler);
      const connected = new Promise<boolean>((resolve) => void filler.once("connect", () => resolve(false)));
      full = await Promise.race([connected, elapse(500).then(() => true)]);
    }
    await using agent = listener({ dialTimeout: milliseconds(300) });
    expect(await refused(tunnelClient(agent, port))).toMatchObject({
      status: 502,
      message: expect.stringContaining("no answer within 300ms"),
    });
  } finally {
    for (const filler of fillers) filler.destroy();
    deaf.kill("SIGKILL");
    await deaf.exited;
  }
});

test("a request without an upgrade gets 426, and the service no connection", async () => {
  await using agent = listener();
  await using quiet = await service(() => {});
  const answer = await ask(agent, `/api/v1/forward/app/svc/${quiet.port}`);
  expect([answer.status, answer.headers.get("upgrade")]).toEqual([426, "websocket"]);
  expect(quiet.sockets).toHaveLength(0);
});

test("every tunnel finds the container again", async () => {
  await using agent = listener();
  await using one = await service((socket) => void socket.write("one"));
  using first = await tunnelClient(agent, one.port);
  await first.has(3);
  agent.serves("app/svc", { id: "c1", state: "exited", addresses: [] });
  expect(await refused(tunnelClient(agent, one.port))).toMatchObject({ status: 503 });
});

test("the next address is tried when the first one refuses", async () => {
  await using agent = listener();
  agent.serves("app/svc", running(["127.0.0.9", "127.0.0.1"]));
  await using banner = await service((socket) => void socket.write("hello"));
  using client = await tunnelClient(agent, banner.port);
  await client.has(5);
  expect(client.bytes().toString()).toBe("hello");
});

const hasIpv6 = await service(() => {}, "::1").then(
  async (it) => (await it[Symbol.asyncDispose](), true),
  () => false,
);
test.skipIf(!hasIpv6)("a service is reached over IPv6 (needs ::1)", async () => {
  await using agent = listener();
  agent.serves("app/svc", running(["::1"]));
  await using banner = await service((socket) => void socket.write("six"), "::1");
  using client = await tunnelClient(agent, banner.port);
  await client.has(3);
  expect(client.bytes().toString()).toBe("six");
});

test("what a service says before anybody asked arrives whole", async () => {
  await using agent = listener();
  const words = Buffer.alloc(300_000, "mysql ");
  await using banner = await service((socket) => void socket.end(words));
  for (let i = 0; i < 20; i++) {
    using client = await tunnelClient(agent, banner.port);
    await client.has(words.length);
    expect(client.bytes().equals(words)).toBeTrue();
  }
});

test("64 MB come back from an echo as they were sent, by another library, uncompressed", async () => {
  await using agent = listener();
  await using parrot = await service(echo);
  const report = await wsUnderNode(agent, parrot.port, { send: 64 * MB, close: "when echoed" });
  expect(report).toMatchObject({ received: 64 * MB, extensions: "", code: 1000 });
  expect(report.heard).toBe(report.sent);
  await until("the tunnel is gone", () => agent.tunnels.count() === 0);
});

test("frames of 16 MB pass", async () => {
  await using agent = listener();
  await using parrot = await service(echo);
  const report = await wsUnderNode(agent, parrot.port, {
    send: 32 * MB,
    frame: 16 * MB,
    close: "when echoed",
  });
  expect(report.received).toBe(32 * MB);
  expect(report.heard).toBe(report.sent);
});

test("a larger frame is answered with 1009", async () => {
  await using agent = listener();
  await using parrot = await service(echo);
  const report = await wsUnderNode(agent, parrot.port, { send: 16 * MB + 1, frame: 16 * MB + 1 });
  // Bun may break the connection off while most of the frame is still on its way.
  expect([1009, 1006]).toContain(report.code);
  expect(report.received).toBe(0);
});

test("a text frame is answered with 1003 and what to send instead", async () => {
  await using agent = listener();
  await using parrot = await service(echo);
  const report = await wsUnderNode(agent, parrot.port, { text: "hello" });
  expect([report.code, report.reason]).toEqual([1003, "send binary frames"]);
});

test.each([
  [["binary"], "binary"],
  [["bearer.c2VjcmV0LXRva2Vu", "binary"], "binary"],
  [["tunnel.half-close", "binary"], "tunnel.half-close"],
])("of the subprotocols %j, %s is chosen", async (protocols, protocol) => {
  await using agent = listener();
  await using parrot = await service(echo);
  const report = await wsUnderNode(agent, parrot.port, { protocols, send: 10, close: "when echoed" });
  expect(report.protocol).toBe(protocol);
});

test("a credential among the subprotocols is never repeated", async () => {
  await using agent = listener();
  await using parrot = await service(echo);
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: agent.port,
    socket: { data: (socket, bytes) => void (answer += bytes.toString("latin1")) },
  });
  let answer = "";
  const headers = Object.entries({
    host: "x",
    ...upgrade,
    "sec-websocket-version": "13",
    "sec-websocket-key": btoa("0123456789abcdef"),
    "sec-websocket-protocol": "bearer.c2VjcmV0",
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`GET ${forwardPath("app", "svc", parrot.port)} HTTP/1.1\r\n${headers.join("")}\r\n`);
  await until("it answered", () => answer.includes("\r\n\r\n"));
  expect(answer).toStartWith("HTTP/1.1 101");
  expect(answer).not.toMatch(/sec-websocket-protocol|c2VjcmV0/i);
  socket.end();
});

test("a client that does not read stops the service's flood, and gets all of it when it reads again", async () => {
  await using agent = listener();
  const bytes = { written: 0 };
  const total = 128 * MB;
  await using source = await service(flood(bytes, total));
  using client = await tunnelClient(agent, source.port, { stalled: true });
  // What two connections' kernel buffers hold, which is the machine's affair, and one read of our own.
  expect(await settled(() => bytes.written)).toBeLessThan(96 * MB);
  client.read();
  await client.has(total);
  client.end();
  expect(await client.closed.then(() => client.received())).toBe(total);
});

test("a service that does not read stops its client, and gets all of it when it reads again", async () => {
  await using agent = listener({ checkEvery: milliseconds(50) });
  let heard = 0;
  let reader: Socket | undefined;
  await using sink = await service((socket) => {
    reader = socket.pause();
    socket.on("data", (bytes) => void (heard += bytes.length)).pause();
    socket.on("end", () => socket.end());
  });
  using client = await tunnelClient(agent, sink.port);
  const frame = Buffer.alloc(65_536, "x");
  const total = 128 * MB;
  let sent = 0;
  const pour = (async () => {
    while (sent < total) {
      sent += frame.length;
      if (!client.send(frame)) await client.drained();
    }
    client.close();
  })();
  expect(await settled(() => sent)).toBeLessThan(96 * MB);
  reader?.resume();
  await pour;
  await until("the service has it all", () => heard === total);
});

test("what a client sent before it closed reaches a slow service, and then its end", async () => {
  await using agent = listener();
  let heard = 0;
  let ended = false;
  await using sink = await service((socket) => {
    socket.pause();
    socket.on("end", () => ((ended = true), socket.end()));
    void (async () => {
      for await (const bytes of socket) {
        heard += (bytes as Buffer).length;
        await elapse(1);
      }
    })();
  });
  const report = await wsUnderNode(agent, sink.port, { send: 20 * MB, close: "when sent" });
  expect(report.code).toBe(1000);
  await until("the service saw the end", () => ended);
  expect(heard).toBe(20 * MB);
  await until("nothing is left", () => agent.tunnels.count() === 0);
});

test("a service's end closes with 1000 for a client without half-close, after everything", async () => {
  await using agent = listener();
  const bytes = { written: 0 };
  await using source = await service(flood(bytes, 30 * MB));
  const report = await wsUnderNode(agent, source.port, {});
  expect([report.code, report.received]).toEqual([1000, 30 * MB]);
});

test("with half-close the service answers after the client's end", async () => {
  await using agent = listener();
  await using oracle = await service((socket) => {
    let question = "";
    socket.on("data", (bytes) => void (question += bytes.toString()));
    socket.on("end", () => socket.end(`you asked: ${question}`));
  });
  using client = await tunnelClient(agent, oracle.port);
  expect(client.halfClose).toBeTrue();
  client.send("why?");
  client.end();
  expect(await client.closed).toMatchObject({ code: 1000 });
  expect([client.bytes().toString(), client.ends()]).toEqual(["you asked: why?", 1]);
});

test("with half-close a client goes on after the service's end", async () => {
  await using agent = listener();
  let heard = "";
  await using oneWay = await service((socket) => {
    socket.end("bye");
    socket.on("data", (bytes) => void (heard += bytes.toString()));
  });
  using client = await tunnelClient(agent, oneWay.port);
  await client.has(3);
  await until("the end was received", () => client.ends() === 1);
  client.send("and another thing");
  await until("the service heard it", () => heard === "and another thing");
  client.end();
  expect(await client.closed).toMatchObject({ code: 1000 });
  await until("nothing is left", () => agent.tunnels.count() === 0);
});

test("a reset by the service is passed on as 1011, after the data before it", async () => {
  await using agent = listener();
  await using broken = await service((socket) => {
    socket.write("last words");
    socket.on("data", () => socket.resetAndDestroy());
  });
  using client = await tunnelClient(agent, broken.port);
  await client.has(10);
  client.send("x");
  expect(await client.closed).toMatchObject({ code: 1011, reason: expect.stringContaining("reset") });
});

test("a client that breaks off ends the service's side", async () => {
  await using agent = listener();
  let ended = false;
  await using parrot = await service((socket) => {
    socket.on("data", () => {});
    socket.on("end", () => socket.end());
    socket.on("close", () => void (ended = true));
  });
  using client = await tunnelClient(agent, parrot.port);
  client.send("x");
  client.reset();
  await until("the service is rid of it", () => ended);
  await until("nothing is left", () => agent.tunnels.count() === 0);
});

test("a client that disconnects while its service does not read is noticed", async () => {
  await using agent = listener({ checkEvery: milliseconds(50) });
  await using stuck = await service((socket) => void socket.pause());
  using client = await tunnelClient(agent, stuck.port);
  const frame = Buffer.alloc(MB);
  let sent = 0;
  void (async () => {
    for (; sent < 128 * MB; sent += frame.length) if (!client.send(frame)) await client.drained();
  })();
  expect(await settled(() => sent + 1)).toBeLessThan(128 * MB);
  client[Symbol.dispose]();
  // The service has ten seconds to take what is left.
  await until("nothing is left", () => agent.tunnels.count() === 0);
});

test("a tunnel through which nothing passes is closed with its reason", async () => {
  await using agent = listener({ idleLimit: milliseconds(200), checkEvery: milliseconds(50) });
  await using parrot = await service(echo);
  using client = await tunnelClient(agent, parrot.port);
  expect(await client.closed).toEqual({ code: 1001, reason: "nothing passed for 200ms" });
});

test("a killed container's tunnels are closed, its neighbours' are not", async () => {
  await using agent = listener();
  agent.serves("app/two", running(["127.0.0.1"], "c2"));
  await using silentOne = await service(() => {});
  await using parrot = await service(echo);
  using gone = await tunnelClient(agent, silentOne.port);
  using stays = await tunnelClient(agent, parrot.port, { name: "app/two" });
  agent.serves("app/svc", { id: "c1", state: "exited", addresses: [] });
  agent.tunnels.stopped((id) => id !== "c1");
  expect(await gone.closed).toEqual({ code: 1001, reason: "container stopped" });
  stays.send("still here");
  await stays.has(10);
});

test("a snapshot older than the container does not close its tunnel", async () => {
  await using agent = listener();
  await using parrot = await service(echo);
  using client = await tunnelClient(agent, parrot.port);
  agent.tunnels.stopped(() => false);
  client.send("still here");
  await client.has(10);
  expect(agent.tunnels.count()).toBe(1);
});

test("a killed container's tunnel with a client that does not read is removed", async () => {
  await using agent = listener();
  await using source = await service(flood({ written: 0 }));
  using client = await tunnelClient(agent, source.port, { stalled: true });
  agent.serves("app/svc", undefined);
  agent.tunnels.stopped(() => false);
  await until("the tunnel is gone", () => agent.tunnels.count() === 0);
  client.read();
  expect(await client.closed).toEqual({ code: 1001, reason: "container stopped" });
});

test("a stopping agent closes every tunnel with a reason, and opens no more", async () => {
  await using agent = listener();
  await using parrot = await service(echo);
  using client = await tunnelClient(agent, parrot.port);
  agent.stop();
  expect(await client.closed).toEqual({ code: 1001, reason: "agent stops" });
  expect(await refused(tunnelClient(agent, parrot.port))).toMatchObject({ status: 503 });
});

test("more tunnels than allowed are refused with 503", async () => {
  await using agent = listener({ limit: 2 });
  await using parrot = await service(echo);
  using _one = await tunnelClient(agent, parrot.port);
  using _two = await tunnelClient(agent, parrot.port);
  expect(await refused(tunnelClient(agent, parrot.port))).toMatchObject({ status: 503 });
});

test("200 tunnels at once, twice, leave no descriptor behind", async () => {
  await using agent = listener();
  await using parrot = await service(echo);
  const descriptors = (): number => readdirSync("/proc/self/fd").length;
  const round = async (): Promise<void> => {
    const clients = await Promise.all(Array.from({ length: 200 }, () => tunnelClient(agent, parrot.port)));
    await Promise.all(
      clients.map((client, index) => {
        client.send(Buffer.alloc(1_000, index));
        return client.has(1_000);
      }),
    );
    expect(clients.every((client, index) => client.bytes().every((byte) => byte === index % 256))).toBeTrue();
    for (const client of clients) client.end();
    await Promise.all(clients.map(({ closed }) => closed));
  };
  const before = descriptors();
  await round();
  await round();
  await until("the descriptors are back", () => descriptors() <= before + 2);
  expect(agent.tunnels.count()).toBe(0);
});
