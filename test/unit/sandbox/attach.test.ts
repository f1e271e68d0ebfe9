// The operator's terminals over REST and over the websocket of a viewer.
import { expect, setDefaultTimeout, test } from "bun:test";
import { seconds } from "../../../src/lib/duration.ts";
import type { Sandbox } from "../../../src/sandbox/sandbox.ts";
import { stopClock } from "../../support/fake-time.ts";
import { type AgentSocket, base64, onlineAgent, plain } from "./agent-socket.ts";
import { type TestNode, enrolled, sandboxWith, until } from "./harness.ts";

setDefaultTimeout(150_000);

interface Viewer extends Disposable {
  readonly socket: WebSocket;
  /** Output and news in the order they came; news parsed. */
  readonly heard: (string | Record<string, unknown>)[];
  output(): string;
  closed(): number | undefined;
}

function attach(sandbox: Sandbox, id: string, options: Record<string, unknown> = {}, query = ""): Viewer {
  const address = `${sandbox.url.replace("http", "ws")}/sandbox/v1/terminals/${id}/attach${query}`;
  const headers = { authorization: `Bearer ${sandbox.operatorToken}` };
  const socket = new WebSocket(address, { headers, ...options });
  socket.binaryType = "arraybuffer";
  const heard: Viewer["heard"] = [];
  let closed: number | undefined;
  socket.addEventListener("message", ({ data }: MessageEvent<string | ArrayBuffer>) => {
    if (typeof data === "string") heard.push(JSON.parse(data) as Record<string, unknown>);
    else heard.push(Buffer.from(data).toString());
  });
  socket.addEventListener("close", ({ code }) => (closed = code));
  return {
    socket,
    heard,
    output: () => heard.filter((one) => typeof one === "string").join(""),
    closed: () => closed,
    [Symbol.dispose]: () => socket.close(),
  };
}

interface Stage extends AsyncDisposable {
  readonly sandbox: Sandbox;
  readonly node: TestNode;
  readonly agent: AgentSocket;
  readonly id: string;
  show(text: string): Promise<unknown>;
}

async function stage(timings: Record<string, number> = {}): Promise<Stage> {
  const sandbox = await sandboxWith({ timings: { frameRaceWindow: 0, ...timings } });
  const node = await enrolled(sandbox);
  const agent = await onlineAgent(sandbox, node);
  const { id } = sandbox.openTerminal({ node: node.id });
  await agent.ask("terminal.opened", { sessionId: id });
  return {
    sandbox,
    node,
    agent,
    id,
    show: (text) =>
      agent.ask("terminal.output", { sessionId: id, direction: "stdout", payload: base64(text) }),
    async [Symbol.asyncDispose]() {
      agent.socket.disconnect();
      await sandbox.stop();
    },
  };
}

test("a viewer gets the state, the transcript, what comes live, and the end behind the last output", async () => {
  await using on = await stage();
  await on.show("before ");
  using viewer = attach(on.sandbox, on.id);
  await until(() => viewer.output() === "before ");
  await on.show("after");
  await on.agent.ask("terminal.exited", { sessionId: on.id, exitCode: 3 });
  await until(() => viewer.closed() !== undefined);
  expect(viewer.closed()).toBe(1_000);
  expect(viewer.heard).toMatchObject([
    { type: "state", terminal: { id: on.id, status: "open" } },
    "before ",
    "after",
    { type: "state", terminal: { status: "closed", exit_code: 3 } },
  ]);
});

test("a viewer who comes back asks only for what is new, and one who comes late sees the end", async () => {
  await using on = await stage();
  for (const text of ["1", "2"]) await on.show(text);
  on.sandbox.typeInto(on.id, "not shown");
  await on.show("3");
  using viewer = attach(on.sandbox, on.id, {}, "?after=2");
  await until(() => viewer.output() === "3");
  await on.agent.ask("terminal.exited", { sessionId: on.id, exitCode: 0 });
  using late = attach(on.sandbox, on.id);
  await until(() => late.closed() !== undefined);
  expect(late.output()).toBe("123");
  expect(late.heard.at(-1)).toMatchObject({ terminal: { status: "closed" } });
});

test("what a viewer types, resizes and stops reaches the agent; a refusal is answered with an error", async () => {
  await using on = await stage();
  using viewer = attach(on.sandbox, on.id);
  await until(() => viewer.heard.length > 0);
  viewer.socket.send(new TextEncoder().encode("ls\r"));
  expect(plain(String((await on.agent.hears("terminal.input"))["payload"]))).toBe("ls\r");
  viewer.socket.send(JSON.stringify({ type: "resize", cols: 80, rows: 24 }));
  expect(await on.agent.hears("terminal.resize")).toMatchObject({ cols: 80, rows: 24 });
  viewer.socket.send(JSON.stringify({ type: "resize", cols: 1, rows: 24 }));
  await until(() => viewer.heard.some((one) => typeof one === "object" && one["type"] === "error"));
  viewer.socket.send(JSON.stringify({ type: "stop", reason: "bye" }));
  expect(await on.agent.hears("terminal.stop")).toMatchObject({ reason: "bye" });
  expect(on.sandbox.transcript(on.id).map(({ direction }) => direction)).toEqual(["input"]);
});

test("a viewer counts: the grace begins when its connection closes", async () => {
  using clock = stopClock();
  await using on = await clock.during(stage({ terminalDetachGrace: seconds(1) }));
  const viewer = attach(on.sandbox, on.id);
  await until(() => viewer.heard.length > 0);
  await clock.pass(seconds(10));
  expect(on.sandbox.terminal(on.id).status).toBe("open");
  viewer.socket.close();
  // The server hears of the end a moment later, and counts from then.
  await until(async () => {
    await clock.pass(seconds(1));
    return on.sandbox.terminal(on.id).status === "terminating";
  });
  expect(await on.agent.hears("terminal.stop")).toMatchObject({ reason: "controller-detached-timeout" });
});

test("a sandbox that stops lets its viewers go", async () => {
  await using on = await stage();
  using viewer = attach(on.sandbox, on.id);
  await until(() => viewer.heard.length > 0);
  await on.sandbox.stop();
  await until(() => viewer.closed() !== undefined);
  expect(viewer.heard).toHaveLength(1);
});

test("the token goes by header or by subprotocol; a wrong one, a foreign page and an unknown terminal do not get in", async () => {
  await using on = await stage();
  const token = Buffer.from(on.sandbox.operatorToken).toString("base64url");
  const headers = {};
  const protocols = ["noderax.terminal", `noderax.token.${token}`];
  using browser = attach(on.sandbox, on.id, { headers: { origin: on.sandbox.url }, protocols });
  await until(() => browser.heard.length > 0);
  expect(browser.socket.protocol).toBe("noderax.terminal");
  const bearer = { authorization: `Bearer ${on.sandbox.operatorToken}` };
  for (const viewer of [
    attach(on.sandbox, on.id, { headers }),
    attach(on.sandbox, on.id, { headers, protocols: ["noderax.terminal", "noderax.token.YQ"] }),
    attach(on.sandbox, on.id, { headers: { ...bearer, origin: "https://evil.example" } }),
    attach(on.sandbox, "11111111", {}),
  ]) {
    await until(() => viewer.closed() !== undefined);
    expect(viewer.heard).toEqual([]);
  }
});

test("a viewer who does not read costs no memory, loses nothing, and holds nobody up", async () => {
  await using on = await stage({ transcriptLimit: 1e9 });
  const viewer = await Bun.connect({
    hostname: "127.0.0.1",
    port: on.sandbox.port,
    socket: { data: (_, chunk) => void (received += chunk.length) },
  });
  let received = 0;
  viewer.write(
    [
      `GET /sandbox/v1/terminals/${on.id}/attach HTTP/1.1`,
      "host: sandbox",
      "connection: upgrade",
      "upgrade: websocket",
      "sec-websocket-version: 13",
      "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
      `authorization: Bearer ${on.sandbox.operatorToken}`,
      "\r\n",
    ].join("\r\n"),
  );
  await until(() => received > 0);
  viewer.pause();
  const text = "x".repeat(49_152);
  const frames = 1_000;
  for (let n = 0; n < frames; n++) expect(await on.show(text)).toMatchObject({ seq: n + 1 });
  // Far more than the kernel holds for it was never handed to its connection.
  expect(received).toBeLessThan(frames * 10_000);
  viewer.resume();
  await until(() => received > frames * text.length, 10_000);
  viewer.end();
});

test("terminals and metrics over REST", async () => {
  await using on = await stage();
  const operate = async (line: string, body?: unknown): Promise<{ status: number; body: unknown }> => {
    const [method = "GET", path = ""] = line.split(" ");
    const response = await fetch(`${on.sandbox.url}/sandbox/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${on.sandbox.operatorToken}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: await response.json() };
  };
  const made = await operate("POST /terminals", { node: "demo-1", cols: 80, rows: 24, run_as_root: false });
  expect(made).toMatchObject({ status: 201, body: { status: "pending", cols: 80, exit_code: null } });
  const { id } = made.body as { id: string };
  expect((await operate("POST /terminals", { node: "demo-1", run_as_root: true })).status).toBe(409);
  expect((await operate("POST /terminals", { node: "demo-1", cols: 1 })).status).toBe(400);
  expect((await operate("GET /terminals?node=demo-1")).body).toHaveLength(2);
  expect((await operate(`POST /terminals/${id}/input`, { text: "a" })).status).toBe(201);
  expect((await operate(`POST /terminals/${id}/input`, { payload: "Yg==" })).status).toBe(201);
  expect((await operate(`POST /terminals/${id}/input`, { payload: "?" })).status).toBe(400);
  expect((await operate(`POST /terminals/${id}/resize`, { cols: 90, rows: 30 })).body).toMatchObject({
    cols: 90,
  });
  expect((await operate(`GET /terminals/${id}/transcript?after=1`)).body).toMatchObject([
    { seq: 2, direction: "input", payload: "Yg==" },
  ]);
  expect((await operate(`POST /terminals/${id}/stop`, { reason: "no" })).body).toMatchObject({
    status: "terminating",
  });
  expect((await operate(`GET /terminals/${id}`)).body).toMatchObject({ closed_reason: "no" });
  expect((await operate("GET /terminals/12345678")).status).toBe(404);
  expect((await operate("GET /nodes/demo-1/metrics")).body).toEqual([]);
  expect((await operate("POST /sockets/disconnect", {})).body).toEqual({ disconnected: 1 });
  await until(() => on.agent.reason() !== undefined);
});
