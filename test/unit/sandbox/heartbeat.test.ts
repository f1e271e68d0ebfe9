// Signs of life over HTTP: heartbeat with its trap, metrics, the legacy registration, and update progress.
import { expect, test } from "bun:test";
import type { Sandbox } from "../../../src/sandbox/sandbox.ts";
import { type TestNode, caller, enrolled, sandboxWith, until, uuid } from "./harness.ts";

const versions = { agentVersion: "1.2.3", platformVersion: "Debian 12", kernelVersion: "6.1" };
const beat = (node: TestNode, extra: Record<string, unknown> = {}) =>
  node.post("/agent/heartbeat", { nodeId: node.id, agentToken: node.token, ...extra });
const versionsOf = (sandbox: Sandbox, node: TestNode) => {
  const { agent_version, platform_version, kernel_version } = sandbox.node(node.id);
  return [agent_version, platform_version, kernel_version];
};

test("a heartbeat puts the node online", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const { status, body } = await beat(node, { ...versions, sentAt: "2026-05-01T10:00:00Z" });
  expect(status).toBe(200);
  expect(body).toEqual({
    acknowledged: true,
    nodeId: node.id,
    status: "online",
    lastSeenAt: expect.any(String),
  });
  expect(sandbox.node(node.id).status).toBe("online");
});

test("an offline node that sends some of the versions loses the others; an online one does not", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  await beat(node, versions);
  await beat(node, { agentVersion: "1.2.4" });
  expect(versionsOf(sandbox, node)).toEqual(["1.2.4", "Debian 12", "6.1"]);
  sandbox.setTimings({ heartbeatTimeout: 0, offlineCheck: 1 });
  await until(() => sandbox.node(node.id).status === "offline");
  sandbox.setTimings({ offlineCheck: 100_000 });
  await beat(node);
  expect(versionsOf(sandbox, node)).toEqual(["1.2.4", "Debian 12", "6.1"]);
});

test("the trap itself: one version from an offline node nulls the other two", async () => {
  await using sandbox = await sandboxWith();
  const started = await caller(sandbox).post("/enrollments/initiate", {
    email: "a@b.co",
    hostname: "trapped",
    additionalInfo: versions,
  });
  const token = String(started.body["token"]);
  const { id } = sandbox.approve({ token });
  const { body } = await caller(sandbox).get(`/enrollments/${token}`);
  await caller(sandbox).post("/agent/heartbeat", {
    nodeId: id,
    agentToken: body["agentToken"],
    agentVersion: "2",
  });
  expect(sandbox.node(id)).toMatchObject({
    agent_version: "2",
    platform_version: null,
    kernel_version: null,
  });
});

test("a version longer than its column is an internal error", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  expect((await beat(node, { agentVersion: "v".repeat(64) })).status).toBe(200);
  expect((await beat(node, { agentVersion: "v".repeat(65) })).status).toBe(500);
});

test("metrics over HTTP are flattened, stored, and a sign of life", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const send = (sample: Record<string, unknown>) =>
    node.post("/agent/metrics", { nodeId: node.id, agentToken: node.token, ...sample });
  const networks = [
    { bytesRecv: 1, bytesSent: 2 },
    { bytesRecv: 10, bytesSent: 20 },
  ];
  const stored = await send({ cpuUsage: 1, memory: { usedPercent: 250 }, diskUsage: 3, networks });
  expect(stored).toMatchObject({
    status: 200,
    body: { cpuUsage: 1, memoryUsage: 250, temperature: null, networkStats: { rxBytes: 11, txBytes: 22 } },
  });
  expect(sandbox.node(node.id).status).toBe("online");
  expect((await send({ memoryUsage: 1, diskUsage: 1 })).body["message"]).toBe("cpuUsage is required");
  expect((await send({ cpuUsage: 100.01, memoryUsage: 1, diskUsage: 1 })).body["message"]).toBe(
    "cpuUsage must not be greater than 100",
  );
  expect((await send({ cpuUsage: 1, memoryUsage: 1, diskUsage: 1, load: 3 })).body["message"]).toBe(
    "property load should not exist",
  );
});

test("the legacy registration takes over a hostname and replaces its token", async () => {
  await using sandbox = await sandboxWith({ registrationSecret: "shared" });
  const node = await enrolled(sandbox, "old-box");
  const register = (body: Record<string, unknown>) => caller(sandbox).post("/agent/register", body);
  const machine = {
    hostname: "OLD-box",
    enrollmentToken: "shared",
    platform: "linux",
    architecture: "amd64",
  };
  expect(await register({ ...machine, enrollmentToken: "guess" })).toMatchObject({
    status: 403,
    body: { message: "Invalid enrollment token" },
  });
  expect((await register({ ...machine, platform: undefined })).body["message"]).toBe("os is required");
  expect((await register({ ...machine, architecture: undefined })).body["message"]).toBe("arch is required");
  const { status, body } = await register(machine);
  expect(status).toBe(201);
  expect(body["nodeId"]).toBe(node.id);
  expect(sandbox.node("old-box")).toMatchObject({ status: "online", os: "linux", arch: "amd64" });
  expect((await node.claim()).status).toBe(401);
});

test("an update target follows its agent's reports, and only the new version completes it", async () => {
  await using sandbox = await sandboxWith();
  const [node, other] = [await enrolled(sandbox), await enrolled(sandbox, "other")];
  const { id, task_id } = sandbox.createUpdate({ node: "demo-1", targetVersion: "9.9.9" });
  const report = (from: TestNode, target = id) =>
    from.post(`/agent-updates/targets/${target}/progress`, { status: "installing", progressPercent: 70 });
  expect((await report(node)).body).toMatchObject({ status: "installing", progressPercent: 70 });
  expect((await report(other)).body["message"]).toBe(
    "The authenticated agent cannot report progress for this rollout target.",
  );
  expect((await report(node, uuid)).body["message"]).toBe(
    `Agent update rollout target ${uuid} was not found`,
  );
  await beat(node, { ...versions, agentVersion: "9.9.9" });
  expect(sandbox.updates()[0]).toMatchObject({ status: "completed", progress_percent: 100 });
  expect(sandbox.task(task_id).status).toBe("success");
  expect((await report(node)).body).toMatchObject({ status: "completed" });
});
