// The connection below the session: whom it trusts, through whom it goes, and what a peer may send.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { type Duration, milliseconds, seconds } from "../../../src/lib/duration.ts";
import { trustedAuthorities } from "../../../src/control/trust.ts";
import type { Socket } from "socket.io";
import { type Endpoint, type Wire, socketIo } from "../../../src/realtime/transport.ts";
import { certificateFor, noOpenssl } from "../../support/certificates.ts";
import { serveBytes } from "../control/servers.ts";
import { scratchDirectory } from "../identity/scratch.ts";
import { printedBy, tunnelProxy } from "../../support/proxy.ts";
import { turn, until } from "../../support/until.ts";
import { plane, start } from "./harness.ts";

setDefaultTimeout(150_000);

function open(
  url: string,
  own: Partial<Endpoint> = {},
  timeout: Duration = seconds(2),
  onEvent: (name: string) => void = () => {},
): Promise<Wire> {
  const endpoint = {
    apiUrl: url,
    path: "/socket.io/",
    namespace: "/agent-realtime",
    authorities: () => "",
    ...own,
  };
  return socketIo(endpoint, timeout)(onEvent);
}

/** A websocket server that sends `frames` to every client, and answers nothing. */
function talker(frames: (string | Uint8Array)[]) {
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request, self) => (self.upgrade(request) ? undefined : new Response("", { status: 426 })),
    websocket: {
      maxPayloadLength: 64 * 1024 * 1024,
      open: (socket) => frames.forEach((frame) => void socket.send(frame)),
      message() {},
    },
  });
  return { url: `http://127.0.0.1:${server.port}`, [Symbol.asyncDispose]: () => server.stop(true) };
}

const handshake =
  '0{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}';
const admitted = '40/agent-realtime,{"sid":"def"}';

describe.concurrent("a peer that sends", () => {
  test.each<[string, (string | Uint8Array)[]]>([
    ["no JSON as a handshake", ["0{{{"]],
    ["nothing as a handshake", ["0"]],
    ["null as a handshake", ["0null"]],
    ["no Engine.IO", ["hello, who is there?"]],
    ["an unknown packet in the namespace", [handshake, admitted, "4zzz"]],
    ["half a Socket.IO packet", [handshake, admitted, '42/agent-realtime,["a"']],
    ["bytes without an announcement", [handshake, admitted, new Uint8Array(10)]],
    ["an endless frame", [handshake, admitted, `42/agent-realtime,["a","${"x".repeat(5_000_000)}"]`]],
    ["a refusal of the namespace", [handshake, '44/agent-realtime,{"message":"Invalid namespace"}']],
    ["a refusal without words", [handshake, "44/agent-realtime,{}"]],
    ["a disconnect", [handshake, admitted, "41/agent-realtime,"]],
  ])("%s ends the connection, and nothing else", async (_, frames) => {
    await using server = talker(frames);
    const wire = await open(server.url, {}, milliseconds(1_000));
    const { reason } = await wire.ended;
    expect(reason).not.toBe("");
    const late = await wire.request("a", {}, seconds(1)).catch((error: unknown) => error);
    expect(late).toMatchObject({ code: "realtime.lost" });
  });

  test("acks and events that nobody asked for is passed over", async () => {
    await using server = talker([
      handshake,
      admitted,
      "43/agent-realtime,99[1]",
      "43/agent-realtime,[]",
      "6",
      '42/other,["x"]',
      '42/agent-realtime,["last",{}]',
    ]);
    const heard: string[] = [];
    const wire = await open(server.url, {}, seconds(2), (event) => heard.push(event));
    await wire.connected;
    await until("the last event", () => heard.includes("last"));
    await turn();
    wire.close("enough");
    expect(await wire.ended).toEqual({ stage: "connected", by: "us", reason: "enough" });
  });

  test("nothing after the handshake is told apart from one that never opens", async () => {
    await using server = talker([handshake]);
    await using silent = await serveBytes(() => {});
    const limit = milliseconds(200);
    const far = await open(server.url, {}, limit);
    let early: unknown;
    void far.ended.then((end) => (early = end));
    const near = await open(silent.url, {}, limit);
    expect(await near.ended).toMatchObject({ stage: "transport", by: "network", reason: "timeout" });
    expect(early).toBeUndefined();
    far.close("no answer");
    expect(await far.ended).toEqual({ stage: "namespace", by: "us", reason: "no answer" });
  });
});

test("a frame within the bound arrives whole, however much larger than 32 KiB it is", async () => {
  await using server = plane();
  await using agent = start(server.url);
  const heard: number[] = [];
  agent.session.on("terminal.input", (body) => heard.push((body as { payload: string }).payload.length));
  await agent.becomes("online");
  for (const size of [33_000, 1_000_000, 3_900_000])
    server.sockets()[0]?.emit("terminal.input", { payload: "x".repeat(size) });
  await until("all heard", () => heard.length === 3);
  expect(heard).toEqual([33_000, 1_000_000, 3_900_000]);
});

test("the answer of the server instead of a websocket is the reason of the end", async () => {
  await using server = plane({ onRequest: () => new Response("", { status: 503 }) });
  const wire = await open(server.url);
  expect((await wire.ended).reason).toBe("Expected 101 status code: 503");
});

test.each<[string, (socket: Socket) => void, string]>([
  ["a server that asks to leave", (socket) => socket.disconnect(true), "the control plane ended the session"],
  ["a connection that is closed", (socket) => socket.conn.close(), "the connection was closed"],
])("%s is told in words", async (_, end, words) => {
  await using server = plane();
  const wire = await open(server.url);
  await wire.connected;
  await until("the server knows it", () => server.sockets().length === 1);
  server.sockets().forEach(end);
  expect((await wire.ended).reason).toBe(words);
});

test("an invalid address is reported as an end, not thrown", async () => {
  const wire = await open("no address");
  expect(await wire.ended).toMatchObject({ stage: "transport", error: { code: "realtime.url" } });
});

test("compression is not offered", async () => {
  let offered: string | null | undefined;
  await using server = plane({
    onRequest(request) {
      if (request.headers.has("upgrade")) offered = request.headers.get("sec-websocket-extensions");
      return undefined;
    },
  });
  const wire = await open(server.url);
  await wire.connected;
  wire.close("enough");
  expect(offered).toBeNull();
});

describe.skipIf(noOpenssl)("over TLS (needs openssl)", () => {
  test("the operator's authority is trusted, an unknown one and another name are not", async () => {
    using directory = scratchDirectory();
    const { ca, cert, key } = certificateFor(directory.path, "IP:127.0.0.1", "Test authority");
    await using server = plane({ tls: { cert: Bun.file(cert), key: Bun.file(key) } });
    const trusted = await Bun.file(ca).text();
    const wire = await open(server.url, { authorities: () => trusted });
    await wire.connected;
    wire.close("enough");

    const stranger = await open(server.url, { authorities: () => trustedAuthorities() });
    expect((await stranger.ended).reason).toContain("certificate");
    const misnamed = await open(server.url.replace("127.0.0.1", "localhost"), { authorities: () => trusted });
    expect((await misnamed.ended).stage).toBe("transport");
  });
});

const transport = join(import.meta.dir, "../../../src/realtime/transport.ts");
const script = `
  const { socketIo } = await import(${JSON.stringify(transport)});
  const endpoint = { apiUrl: process.argv[1], path: "/socket.io/", namespace: "/agent-realtime", authorities: () => "" };
  const wire = await socketIo(endpoint, 15_000)(() => {});
  const end = await Promise.race([wire.connected, wire.ended]);
  console.log(end === undefined ? "connected" : (end.error?.code ?? end.stage));
  process.exit();
`;
const connectFrom = (env: Record<string, string>, url: string): Promise<string> =>
  printedBy(script, env, url);

describe.concurrent("through a proxy of the environment", () => {
  test("it goes by a tunnel, unlike Bun's WebSocket by itself", async () => {
    await using server = plane();
    await using proxy = await tunnelProxy(() => server.port);
    expect(await connectFrom({ HTTP_PROXY: proxy.url }, `http://plane.invalid:${server.port}`)).toBe(
      "connected",
    );
    expect(proxy.asked).toEqual([`plane.invalid:${server.port}`]);
  });

  test("HTTPS_PROXY leads to a plane over TLS", async () => {
    await using server = plane();
    await using proxy = await tunnelProxy(() => server.port);
    // The other end of the tunnel speaks no TLS; that it was dug is what counts.
    expect(await connectFrom({ HTTPS_PROXY: proxy.url }, "https://plane.invalid:7443")).toBe("transport");
    expect(proxy.asked).toEqual(["plane.invalid:7443"]);
  });

  test.each(["127.0.0.1", "10.1.2.3, 127.0.0.0/8", "*"])("NO_PROXY=%s leads around it", async (none) => {
    await using server = plane();
    await using proxy = await tunnelProxy(() => server.port);
    expect(await connectFrom({ HTTP_PROXY: proxy.url, NO_PROXY: none }, server.url)).toBe("connected");
    expect(proxy.asked).toEqual([]);
  });

  test("an invalid proxy is reported by the name of its variable", async () => {
    expect(await connectFrom({ HTTP_PROXY: "socks5://127.0.0.1:1" }, "http://127.0.0.1:1")).toBe(
      "realtime.proxy",
    );
  });
});
