// Nodes of the Caravanserai side: registered, heard of, missed, changed, deleted.
import { expect, test } from "bun:test";
import { seconds } from "../../../src/lib/duration.ts";
import { parseQuantity } from "../../../src/sandbox/caravanserai/quantity.ts";
import { stopClock } from "../../support/fake-time.ts";
import { beat, cara, caraSandbox, nodeDocument, readyNode } from "./caravanserai-harness.ts";
import { until } from "./harness.ts";

const ZERO = "0001-01-01T00:00:00Z";

test("the server says that it is healthy", async () => {
  await using sandbox = await caraSandbox();
  expect((await cara(sandbox, "GET /api/healthz")).status).toBe(200);
});

test("a node that registers is NotReady, with Go's zero time for what never was", async () => {
  await using sandbox = await caraSandbox();
  const { status, body } = await cara(sandbox, "POST /api/v1/nodes", nodeDocument("n1"));
  expect(status).toBe(201);
  expect(body).toEqual({
    apiVersion: "caravanserai/v1",
    kind: "Node",
    metadata: { name: "n1", createdAt: expect.stringMatching(/^20/), updatedAt: ZERO },
    spec: { hostname: "n1", unschedulable: false },
    status: { state: "NotReady", lastHeartbeat: ZERO },
  });
});

test("a second registration under the name is 409 and changes nothing", async () => {
  await using sandbox = await caraSandbox();
  await readyNode(sandbox, "n1");
  const { status, body } = await cara(sandbox, "POST /api/v1/nodes", nodeDocument("n1", { hostname: "x" }));
  expect([status, body["detail"]]).toEqual([409, 'node "n1" already exists']);
  expect(sandbox.caraNode("n1")).toMatchObject({ spec: { hostname: "n1" }, status: { state: "Ready" } });
});

test.each(["Web-01", "web_01", "-web", "web-", "", "a".repeat(254)])("the name %p is 400", async (name) => {
  await using sandbox = await caraSandbox();
  const { status, body } = await cara(sandbox, "POST /api/v1/nodes", nodeDocument(name));
  expect([status, body["detail"]]).toEqual([400, expect.stringMatching(/^metadata\.name: /)]);
});

test.each(["a", "0", "web-01.example.com", "a".repeat(253)])("the name %p is fine", async (name) => {
  await using sandbox = await caraSandbox();
  expect((await cara(sandbox, "POST /api/v1/nodes", nodeDocument(name))).status).toBe(201);
});

test("a heartbeat is 204 without a body, and makes the node Ready", async () => {
  await using sandbox = await caraSandbox();
  await cara(sandbox, "POST /api/v1/nodes", nodeDocument("n1"));
  const response = await fetch(`${sandbox.url}/api/v1/nodes/n1/heartbeat`, {
    method: "POST",
    body: '{"state":"Ready"}',
  });
  expect([response.status, await response.text()]).toEqual([204, ""]);
  const { state, lastHeartbeat } = sandbox.caraNode("n1").status;
  expect(state).toBe("Ready");
  expect(Date.now() - Date.parse(lastHeartbeat)).toBeWithin(0, 2_000);
});

test("heartbeats are merged field by field", async () => {
  await using sandbox = await caraSandbox();
  await readyNode(sandbox, "n1");
  await beat(sandbox, "n1", {
    network: { ip: "10.0.0.5", mode: "Direct", agentPort: 9090 },
    capacity: { cpu: "4000m", memory: "16Gi" },
  });
  await beat(sandbox, "n1", { state: "Draining", network: { agentPort: 9191 }, capacity: { disk: "200Gi" } });
  expect(sandbox.caraNode("n1").status).toMatchObject({
    state: "Draining",
    network: { ip: "10.0.0.5", mode: "Direct", agentPort: 9191 },
    capacity: { cpu: "4000m", memory: "16Gi", disk: "200Gi" },
  });
});

test("an empty heartbeat is a sign of life and changes nothing else", async () => {
  using clock = stopClock();
  await using sandbox = await caraSandbox();
  await readyNode(sandbox, "n1");
  const before = sandbox.caraNode("n1").status;
  await clock.pass(seconds(1));
  expect((await cara(sandbox, "POST /api/v1/nodes/n1/heartbeat")).status).toBe(204);
  const { lastHeartbeat, ...after } = sandbox.caraNode("n1").status;
  expect(after).toEqual({ state: "Ready" });
  expect(lastHeartbeat > before.lastHeartbeat).toBeTrue();
});

test("an unknown state is 400 and merges nothing; an unknown node is 404", async () => {
  await using sandbox = await caraSandbox();
  await readyNode(sandbox, "n1");
  const wrong = await beat(sandbox, "n1", { state: "ready", network: { ip: "10.0.0.5" } });
  expect([wrong.status, wrong.body["detail"]]).toEqual([
    400,
    "state: unknown state; there are Ready, NotReady, Draining",
  ]);
  expect(sandbox.caraNode("n1").status).not.toHaveProperty("network");
  expect((await beat(sandbox, "n2")).status).toBe(404);
});

test.each([
  ["disk at 14.9 %", { disk: "1000" }, { disk: "149" }, { DiskPressure: "True" }],
  ["disk at 15 %", { disk: "200Gi" }, { disk: "30Gi" }, { DiskPressure: "False" }],
  ["memory at 9 %", { memory: "16Gi" }, { memory: "1475Mi" }, { MemoryPressure: "True" }],
  ["memory at 10 %", { memory: "10G" }, { memory: "1000M" }, { MemoryPressure: "False" }],
  ["nothing sensible", { disk: "much", memory: "0" }, { disk: "less", memory: "0" }, {}],
])("pressure: %s", async (_, capacity, allocatable, expected) => {
  await using sandbox = await caraSandbox();
  await readyNode(sandbox, "n1");
  await beat(sandbox, "n1", { capacity, allocatable });
  const { conditions = [] } = sandbox.caraNode("n1").status;
  expect(conditions.map(({ type, status }) => [type, status])).toEqual(Object.entries(expected));
});

test("the time of a condition is that of its change, not that of the last heartbeat", async () => {
  using clock = stopClock();
  await using sandbox = await caraSandbox();
  await readyNode(sandbox, "n1");
  const since = async (allocatable: string): Promise<string | undefined> => {
    await clock.pass(seconds(1));
    await beat(sandbox, "n1", { capacity: { disk: "100" }, allocatable: { disk: allocatable } });
    return sandbox.caraNode("n1").status.conditions?.[0]?.lastTransitionTime;
  };
  const first = await since("50");
  expect(first).toBeString();
  expect(await since("40")).toBe(first);
  expect(await since("5")).not.toBe(first);
});

test.each([
  ["4000m", 4],
  ["16Gi", 16 * 2 ** 30],
  ["1.5G", 1.5e9],
  ["2e3", 2_000],
  ["7", 7],
  [".5k", 500],
  ["", undefined],
  ["Gi", undefined],
  ["1 Gi", undefined],
  ["1e999", undefined],
])("the quantity %p is %p", (text, value) => {
  expect(parseQuantity(text)).toBe(value);
});

test("a node that is silent for too long is NotReady at the next check, and Ready again when it is heard of", async () => {
  await using sandbox = await caraSandbox({ timings: { nodeSilence: 40 } });
  await readyNode(sandbox, "n1");
  expect(sandbox.caraNode("n1").status.state).toBe("Ready");
  await until(() => sandbox.caraNode("n1").status.state === "NotReady");
  await beat(sandbox, "n1");
  expect(sandbox.caraNode("n1").status.state).toBe("Ready");
});

test("a node is not missed between two checks", async () => {
  using clock = stopClock();
  await using sandbox = await caraSandbox({ timings: { nodeSilence: 1, nodeCheck: seconds(60) } });
  await readyNode(sandbox, "n1");
  await clock.pass(seconds(59));
  expect(sandbox.caraNode("n1").status.state).toBe("Ready");
  await clock.pass(seconds(1));
  expect(sandbox.caraNode("n1").status.state).toBe("NotReady");
});

test("an operator changes labels and spec of a node, not its status", async () => {
  await using sandbox = await caraSandbox();
  await readyNode(sandbox, "n1");
  const { status, body } = await cara(sandbox, "PUT /api/v1/nodes/n1", {
    ...nodeDocument("n1", { unschedulable: true }),
    metadata: { name: "n1", labels: { zone: "a" } },
    status: { state: "NotReady" },
  });
  expect(status).toBe(200);
  expect(body).toMatchObject({
    metadata: { labels: { zone: "a" }, updatedAt: expect.stringMatching(/^20/) },
    spec: { unschedulable: true },
    status: { state: "Ready" },
  });
  expect((await cara(sandbox, "PUT /api/v1/nodes/n2", nodeDocument("n2"))).status).toBe(404);
  expect((await cara(sandbox, "PUT /api/v1/nodes/n2", nodeDocument("n1"))).status).toBe(400);
});

test("a deleted node is unknown, to its own heartbeat too, and may register again", async () => {
  await using sandbox = await caraSandbox();
  await readyNode(sandbox, "n1");
  expect((await cara(sandbox, "DELETE /api/v1/nodes/n1")).status).toBe(204);
  expect((await cara(sandbox, "GET /api/v1/nodes/n1")).status).toBe(404);
  expect((await beat(sandbox, "n1")).status).toBe(404);
  expect((await cara(sandbox, "DELETE /api/v1/nodes/n1")).status).toBe(404);
  expect((await cara(sandbox, "POST /api/v1/nodes", nodeDocument("n1"))).status).toBe(201);
});

test("nodes are listed by name", async () => {
  await using sandbox = await caraSandbox();
  for (const name of ["n2", "n1"]) await readyNode(sandbox, name);
  const { body } = await cara(sandbox, "GET /api/v1/nodes");
  expect(body).toMatchObject({
    kind: "NodeList",
    items: [{ metadata: { name: "n1" } }, { metadata: { name: "n2" } }],
  });
  expect((await cara(sandbox, "GET /api/v1/nodes/n2")).body).toMatchObject({ metadata: { name: "n2" } });
});
