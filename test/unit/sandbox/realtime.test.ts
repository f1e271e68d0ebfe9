// The realtime session, event by event: who gets in, what is refused, and what keeps a socket and a node alive.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { milliseconds, seconds } from "../../../src/lib/duration.ts";
import { stopClock } from "../../support/fake-time.ts";
import { agentSocket, onlineAgent, rawSocket } from "./agent-socket.ts";
import { enrolled, sandboxWith, until, uuid } from "./harness.ts";

setDefaultTimeout(150_000);

const versions = { agentVersion: "1.2.3", platformVersion: "Debian 12", kernelVersion: "6.1" };
const sample = { type: "agent.metrics", cpuUsage: 1, memoryUsage: 2, diskUsage: 3 };

test("the handshake names the engine's parameters, over polling and over a websocket", async () => {
  await using sandbox = await sandboxWith();
  const wanted = { pingInterval: 25_000, pingTimeout: 20_000, maxPayload: 1_000_000 };
  const polled = await fetch(`${sandbox.url}/socket.io/?EIO=4&transport=polling`);
  expect(polled.status).toBe(200);
  expect(JSON.parse((await polled.text()).slice(1))).toMatchObject({ sid: expect.any(String), ...wanted });
  using raw = await rawSocket(sandbox);
  expect(JSON.parse(raw.received[0]?.slice(1) ?? "")).toMatchObject(wanted);
});

test.each([["websocket"], ["polling"]])("an agent gets in over %s", async (transport) => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  using agent = await agentSocket(sandbox, [transport]);
  const ack = {
    type: "agent.auth.ack",
    authenticated: true,
    nodeId: node.id,
    rootAccess: { profile: "off", updatedAt: null },
  };
  expect(await agent.auth(node, versions)).toEqual(ack);
  expect(await agent.hears("agent.auth.ack")).toEqual(ack);
  expect(sandbox.node(node.id)).toMatchObject({
    status: "online",
    agent_version: "1.2.3",
    platform_version: "Debian 12",
    kernel_version: "6.1",
  });
});

test("a page of another origin is refused", async () => {
  await using sandbox = await sandboxWith();
  const path = `${sandbox.url}/socket.io/?EIO=4&transport=polling`;
  expect((await fetch(path, { headers: { origin: "https://evil.example" } })).status).toBe(403);
  expect((await fetch(path, { headers: { origin: sandbox.url } })).status).toBe(200);
});

describe("a failed agent.auth is an event and a disconnect, without an ack", () => {
  const cases: [string, Record<string, unknown>, string][] = [
    ["wrong token", { agentToken: "w".repeat(64) }, "Invalid agent token"],
    ["unknown node", { nodeId: uuid }, `Node ${uuid} was not found`],
    ["location", { location: { region: "x" } }, "Bad Request Exception"],
    ["a number for a version", { agentVersion: 1 }, "Bad Request Exception"],
    ["no type", { type: undefined }, "Bad Request Exception"],
    ["an empty lastAppliedAt", { rootAccess: { lastAppliedAt: "" } }, "Bad Request Exception"],
    ["an unknown profile", { rootAccess: { appliedProfile: "root" } }, "Bad Request Exception"],
    ["an unknown key inside", { rootAccess: { revision: 1 } }, "Bad Request Exception"],
  ];
  test.each(cases)("%s", async (_, change, message) => {
    await using sandbox = await sandboxWith();
    const node = await enrolled(sandbox);
    using agent = await agentSocket(sandbox);
    let acked = false;
    void agent.auth(node, change).then(
      () => (acked = true),
      () => {},
    );
    await until(() => agent.reason() !== undefined);
    expect(agent.reason()).toBe("io server disconnect");
    expect(agent.heard).toEqual([
      { event: "agent.auth.error", body: { type: "agent.auth.error", authenticated: false, message } },
    ]);
    expect(acked).toBe(false);
    expect(sandbox.node(node.id).status).toBe("offline");
  });
});

test("agent.auth again on a live socket brings a fresh report, by the rules of the claim", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  using agent = await agentSocket(sandbox);
  const lastAppliedAt = "2026-05-01T00:00:00.000Z";
  await agent.auth(node, { rootAccess: { appliedProfile: "task", lastAppliedAt, lastError: "no sudo" } });
  expect(sandbox.node(node.id).root_access).toMatchObject({
    applied_profile: "task",
    last_error: "no sudo",
    status: "failed",
  });
  await agent.auth(node, { rootAccess: {} });
  expect(sandbox.node(node.id).root_access).toMatchObject({
    applied_profile: "task",
    last_applied_at: lastAppliedAt,
    last_error: null,
  });
  expect(agent.reason()).toBeUndefined();
});

test("the version an agent reports completes its update", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  sandbox.createUpdate({ node: node.id, targetVersion: "1.2.3" });
  using agent = await agentSocket(sandbox);
  await agent.auth(node, versions);
  expect(sandbox.updates()).toMatchObject([{ status: "completed" }]);
});

describe("before agent.auth is through", () => {
  test.each([["agent.ping"], ["agent.metrics"], ["terminal.output"], ["task.log"]])(
    "%s closes the transport",
    async (event) => {
      await using sandbox = await sandboxWith();
      using agent = await agentSocket(sandbox);
      agent.socket.emit(event, {});
      await until(() => agent.reason() !== undefined);
      expect(agent.reason()).toBe("io server disconnect");
      expect(agent.socket.io.engine.readyState).toBe("closed");
    },
  );

  test("through means done, not sent", async () => {
    using clock = stopClock();
    await using sandbox = await sandboxWith({ timings: { authWindow: seconds(1) } });
    const node = await enrolled(sandbox);
    using agent = await agentSocket(sandbox);
    agent.socket.emit("agent.auth", { type: "agent.auth", nodeId: node.id, agentToken: node.token });
    agent.socket.emit("agent.ping", { type: "agent.ping" });
    await until(() => agent.reason() !== undefined);
    await clock.pass(seconds(10));
    expect(sandbox.node(node.id).status).toBe("offline");
  });

  test("an unknown event is only refused", async () => {
    await using sandbox = await sandboxWith();
    using agent = await agentSocket(sandbox);
    agent.socket.emit("agent.pong", {});
    expect(await agent.hears("agent.error")).toEqual({
      type: "agent.error",
      code: "UNKNOWN_EVENT",
      message: "Unsupported event: agent.pong",
    });
    expect(agent.reason()).toBeUndefined();
  });
});

describe("a wrong event is refused by event and ack, and the socket stays", () => {
  const cases: [string, string, unknown][] = [
    ["an unknown key", "agent.ping", { type: "agent.ping", extra: 1 }],
    ["no type", "agent.ping", {}],
    ["free text for a time", "agent.ping", { type: "agent.ping", timestamp: "now" }],
    ["a list", "agent.ping", [{ type: "agent.ping" }]],
    ["nothing", "agent.ping", null],
    ["a number in a string", "agent.metrics", { ...sample, cpuUsage: "1" }],
    ["100.01 per cent", "agent.metrics", { ...sample, cpuUsage: 100.01 }],
    ["no token", "agent.metrics", sample],
    ["load average", "agent.metrics", { ...sample, load: 1 }],
  ];
  test.each(cases)("%s: %s", async (_, eventType, body) => {
    await using sandbox = await sandboxWith();
    const node = await enrolled(sandbox);
    using agent = await onlineAgent(sandbox, node);
    const message = "Bad Request Exception";
    expect(await agent.ask(eventType, body)).toEqual({ ok: false, eventType, message });
    expect(await agent.hears("agent.error")).toEqual({ type: "agent.error", eventType, message });
    expect(await agent.ask("agent.ping", { type: "agent.ping" })).toMatchObject({ ok: true });
  });

  test("two arguments", async () => {
    await using sandbox = await sandboxWith();
    using agent = await onlineAgent(sandbox, await enrolled(sandbox));
    const two = agent.socket.timeout(1_000).emitWithAck("agent.ping", { type: "agent.ping" }, {});
    expect(await two).toMatchObject({ ok: false, message: "Bad Request Exception" });
  });
});

test("metrics are flattened and stored as over HTTP, and refused without a value", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  using agent = await onlineAgent(sandbox, node);
  const credentials = { nodeId: node.id, agentToken: node.token };
  const networks = [{ bytesRecv: 5, bytesSent: 7 }, { bytesRecv: 1 }];
  const body = {
    ...sample,
    ...credentials,
    cpuUsage: null,
    cpu: { usagePercent: 250 },
    networkStats: networks,
    timestamp: "2026-05-01",
  };
  expect(await agent.ask("agent.metrics", body)).toEqual({
    ok: true,
    type: "agent.metrics",
    nodeId: node.id,
  });
  expect(sandbox.metrics("demo-1")).toMatchObject([
    { cpu_usage: 250, memory_usage: 2, temperature: null, network_stats: { rxBytes: 6, txBytes: 7 } },
  ]);
  expect(await agent.ask("agent.metrics", { ...credentials, type: "agent.metrics" })).toMatchObject({
    ok: false,
    message: "cpuUsage is required",
  });
});

describe("signs of life", () => {
  const quick = { pingTimeout: 120, pingCheck: 10, heartbeatTimeout: 150, offlineCheck: 10 };

  test("a silent authenticated socket is dropped, an unauthenticated one is not", async () => {
    await using sandbox = await sandboxWith({ timings: quick });
    using stranger = await agentSocket(sandbox);
    using agent = await onlineAgent(sandbox, await enrolled(sandbox));
    await until(() => agent.reason() !== undefined);
    expect(agent.reason()).toBe("io server disconnect");
    expect(stranger.reason()).toBeUndefined();
  });

  test("pings keep the socket, but not the node online", async () => {
    await using sandbox = await sandboxWith({ timings: quick });
    const node = await enrolled(sandbox);
    using agent = await onlineAgent(sandbox, node);
    const seen = sandbox.node(node.id).last_seen_at;
    await until(async () => {
      await agent.ask("agent.ping", { type: "agent.ping" });
      return sandbox.node(node.id).status === "offline";
    });
    expect(agent.reason()).toBeUndefined();
    expect(sandbox.node(node.id).last_seen_at).toBe(seen);
    expect(sandbox.events().map(({ type }) => type)).toEqual(["node.offline"]);
  });

  test("metrics keep both, and invalid ones keep the socket", async () => {
    using clock = stopClock();
    await using sandbox = await sandboxWith({ timings: quick });
    const node = await enrolled(sandbox);
    using agent = await clock.during(onlineAgent(sandbox, node));
    const body = { ...sample, nodeId: node.id, agentToken: node.token };
    for (let rounds = 0; rounds < 10; rounds++) {
      expect(await clock.during(agent.ask("agent.metrics", body))).toMatchObject({ ok: true });
      await clock.pass(milliseconds(100));
    }
    expect(sandbox.node(node.id).status).toBe("online");
    await until(async () => {
      await clock.during(agent.ask("agent.metrics", { ...body, cpuUsage: 101 }));
      await clock.pass(milliseconds(20));
      return sandbox.node(node.id).status === "offline";
    });
    expect(agent.reason()).toBeUndefined();
  });
});

test("a socket that closes puts its node offline at once, with an event", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const agent = await onlineAgent(sandbox, node);
  agent.socket.disconnect();
  await until(() => sandbox.node(node.id).status === "offline");
  expect(sandbox.events()).toMatchObject([{ node_id: node.id, type: "node.offline" }]);
});

test("a second socket of a node throws the first out, and the node stays online", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  using first = await onlineAgent(sandbox, node);
  using second = await onlineAgent(sandbox, node);
  await until(() => first.reason() !== undefined);
  expect(first.reason()).toBe("io server disconnect");
  await second.ask("agent.ping", { type: "agent.ping" });
  expect(sandbox.node(node.id).status).toBe("online");
  expect(sandbox.events()).toEqual([]);
});

test("a message over 1 000 000 bytes closes the transport and puts the node offline, one of them does not", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  using raw = await rawSocket(sandbox);
  const auth = { type: "agent.auth", nodeId: node.id, agentToken: node.token };
  raw.send(`42/agent-realtime,1${JSON.stringify(["agent.auth", auth])}`);
  await until(() => sandbox.node(node.id).status === "online");
  const message = (size: number): string => {
    const [head, tail] = ['42/agent-realtime,["agent.pong",{"x":"', '"}]'];
    return head + "x".repeat(size - head.length - tail.length) + tail;
  };
  raw.send(message(1_000_000));
  await until(() => raw.received.some((one) => one.includes("UNKNOWN_EVENT")));
  expect(raw.closed()).toBeUndefined();
  raw.send(message(1_000_001));
  await until(() => raw.closed() !== undefined);
  await until(() => sandbox.node(node.id).status === "offline");
});

test("a changed root-access profile is pushed", async () => {
  await using sandbox = await sandboxWith();
  using agent = await onlineAgent(sandbox, await enrolled(sandbox));
  const { root_access } = sandbox.setRootAccess("demo-1", "task");
  expect(await agent.hears("root-access.updated")).toEqual({
    type: "root-access.updated",
    rootAccess: { profile: "task", updatedAt: root_access.updated_at },
  });
});

test("a deleted node loses its socket, and is unknown when it comes back", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  using agent = await onlineAgent(sandbox, node);
  sandbox.deleteNode(node.id);
  await until(() => agent.reason() !== undefined);
  using again = await agentSocket(sandbox);
  void again.auth(node).catch(() => {});
  expect(await again.hears("agent.auth.error")).toMatchObject({ message: `Node ${node.id} was not found` });
});

test("a sandbox that stops cuts its sockets, and leaves its nodes as they were", async () => {
  const data = mkdtempSync(join(tmpdir(), "realtime-"));
  const sandbox = await sandboxWith({ data });
  using agent = await onlineAgent(sandbox, await enrolled(sandbox));
  using polling = await agentSocket(sandbox, ["polling"]);
  await sandbox.stop();
  await until(() => agent.reason() !== undefined && polling.reason() !== undefined);
  await using again = await sandboxWith({ data });
  expect(again.node("demo-1").status).toBe("online");
  expect(again.events()).toEqual([]);
  rmSync(data, { recursive: true });
});
