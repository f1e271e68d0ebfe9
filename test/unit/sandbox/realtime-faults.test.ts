// Faults of the realtime session: blocked, cut, slow, deaf, failing, and without a database.
import { expect, setDefaultTimeout, test } from "bun:test";
import { agentSocket, onlineAgent } from "./agent-socket.ts";
import { enrolled, sandboxWith, until } from "./harness.ts";

setDefaultTimeout(150_000);

const ping = { type: "agent.ping" };

test("websocketBlocked: upgrades are refused while HTTP works", async () => {
  await using sandbox = await sandboxWith({ faults: { websocketBlocked: true } });
  await enrolled(sandbox);
  const refused = await agentSocket(sandbox).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(Error);
  expect((await fetch(`${sandbox.url}/health`)).status).toBe(200);
  const headers = { connection: "upgrade", upgrade: "websocket" };
  const path = `${sandbox.url}/socket.io/?EIO=4&transport=websocket`;
  expect((await fetch(path, { headers })).status).toBe(403);
  sandbox.setFaults({ websocketBlocked: false });
  using _agent = await agentSocket(sandbox);
});

test("disconnect cuts every socket, or those of one node, without a word", async () => {
  await using sandbox = await sandboxWith();
  using one = await onlineAgent(sandbox, await enrolled(sandbox, "demo-1"));
  using two = await onlineAgent(sandbox, await enrolled(sandbox, "demo-2"));
  expect(sandbox.disconnect("demo-2")).toBe(1);
  await until(() => two.reason() !== undefined);
  expect(two.reason()).toBe("transport close");
  expect(one.reason()).toBeUndefined();
  expect(sandbox.disconnect()).toBe(1);
  await until(() => sandbox.nodes().every(({ status }) => status === "offline"));
});

test("lostAnswers: an event is processed and never acked, also agent.auth", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  sandbox.setFaults({ lostAnswers: 1, routes: ["realtime.auth", "realtime.metrics"] });
  using agent = await agentSocket(sandbox);
  const auth = { type: "agent.auth", nodeId: node.id, agentToken: node.token };
  const lost = (event: string, body: object) =>
    agent.socket
      .timeout(60)
      .emitWithAck(event, body)
      .catch(() => "lost");
  expect(await lost("agent.auth", auth)).toBe("lost");
  expect(sandbox.node(node.id).status).toBe("online");
  const sample = { cpuUsage: 1, memoryUsage: 1, diskUsage: 1 };
  expect(await lost("agent.metrics", { ...auth, ...sample, type: "agent.metrics" })).toBe("lost");
  expect(sandbox.metrics(node.id)).toHaveLength(1);
  expect(await agent.ask("agent.ping", ping)).toMatchObject({ ok: true });
});

test("delay and errorRate hold for the events that routes name", async () => {
  await using sandbox = await sandboxWith();
  using agent = await onlineAgent(sandbox, await enrolled(sandbox));
  sandbox.setFaults({ errorRate: 1, delay: 40, routes: ["realtime.ping"] });
  const start = performance.now();
  const message = "Internal server error";
  expect(await agent.ask("agent.ping", ping)).toEqual({ ok: false, eventType: "agent.ping", message });
  expect(performance.now() - start).toBeGreaterThan(38);
  expect((await agent.ask("agent.metrics", {}))["message"]).toBe("Bad Request Exception");
});

test("databaseDown: agent.auth fails with the driver's text, pings go on", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  using agent = await onlineAgent(sandbox, node);
  sandbox.setFaults({ databaseDown: true });
  expect(await agent.ask("agent.ping", ping)).toMatchObject({ ok: true });
  using late = await agentSocket(sandbox);
  void late.auth(node).catch(() => {});
  expect((await late.hears("agent.auth.error"))["message"]).toContain("ECONNREFUSED");
  await until(() => late.reason() !== undefined);
});

test("dropAfter: pings do not use it up, and once it is used up sockets are cut and refused", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  using agent = await onlineAgent(sandbox, node);
  sandbox.setFaults({ dropAfter: 1 });
  for (let n = 0; n < 3; n++) expect(await agent.ask("agent.ping", ping)).toMatchObject({ ok: true });
  await node.claim();
  agent.socket.emit("agent.ping", ping);
  await until(() => agent.reason() !== undefined);
  expect(await agentSocket(sandbox).catch(() => "refused")).toBe("refused");
});

test("enginePingTimeout: an agent that answers no pings is found out", async () => {
  await using sandbox = await sandboxWith({ timings: { enginePingInterval: 30, enginePingTimeout: 40 } });
  const node = await enrolled(sandbox);
  using agent = await onlineAgent(sandbox, node);
  // A half-open connection: what the server sends is not answered any more.
  agent.socket.io.engine.transport.send = () => {};
  await until(() => sandbox.node(node.id).status === "offline");
});

test("taskDispatch: queued tasks are pushed at once, on agent.auth and on every ping, but not by default", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  using agent = await onlineAgent(sandbox, node);
  const payload = { command: "true", timeoutSeconds: 7 };
  const { id } = sandbox.createTask({ node: node.id, payload });
  await agent.ask("agent.ping", ping);
  expect(agent.heard.map(({ event }) => event)).toEqual(["agent.auth.ack"]);
  sandbox.setFaults({ taskDispatch: true });
  await agent.ask("agent.ping", ping);
  const task = { id, type: "shell.exec", payload, timeoutSeconds: 7 };
  expect(await agent.hears("task.dispatch")).toEqual({ type: "task.dispatch", task });
  sandbox.createTask({ node: node.id, payload });
  await until(() => agent.heard.filter(({ event }) => event === "task.dispatch").length >= 2);
});
