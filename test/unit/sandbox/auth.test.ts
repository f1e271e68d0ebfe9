// The 401 table: what wrong, missing and unverifiable credentials look like on task routes and on the heartbeat.
import { expect, test } from "bun:test";
import { caller, enrolled, nodeCaller, sandboxWith, uuid } from "./harness.ts";

const wrong = "w".repeat(64);

test("task routes name the headers they need", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const message = "x-agent-node-id and Authorization: Bearer <agent-token> are required";
  for (const headers of [{}, { authorization: `Bearer ${node.token}` }, { "x-agent-node-id": node.id }]) {
    expect(await caller(sandbox, headers).post("/agent/tasks/claim")).toMatchObject({
      status: 401,
      body: { message, error: "Unauthorized" },
    });
  }
});

test("task routes answer the same for a wrong token, a deleted node and a database that is down", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const refused = { status: 401, body: { message: "Invalid agent credentials" } };
  expect(await nodeCaller(sandbox, node.id, wrong).claim()).toMatchObject(refused);
  expect(await nodeCaller(sandbox, uuid, node.token).claim()).toMatchObject(refused);
  sandbox.setFaults({ databaseDown: true });
  expect(await node.claim()).toMatchObject(refused);
  sandbox.setFaults({ databaseDown: false });
  sandbox.deleteNode(node.id);
  expect(await node.claim()).toMatchObject(refused);
});

test("the heartbeat tells a wrong token, a deleted node and a database that is down apart", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const beat = (nodeId: string, agentToken: string) =>
    caller(sandbox).post("/agent/heartbeat", { nodeId, agentToken });
  expect(await beat(node.id, wrong)).toMatchObject({ status: 401, body: { message: "Invalid agent token" } });
  expect(await beat(uuid, node.token)).toMatchObject({
    status: 404,
    body: { message: `Node ${uuid} was not found` },
  });
  sandbox.setFaults({ databaseDown: true });
  const down = await beat(node.id, node.token);
  expect(down).toMatchObject({ status: 500, body: { message: "Internal server error" } });
  expect(down.body).not.toHaveProperty("error");
});

test("the scheme's case does not matter", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const shouting = caller(sandbox, { authorization: `BEARER ${node.token}`, "x-agent-node-id": node.id });
  expect((await shouting.post("/agent/tasks/claim", { waitMs: 0 })).status).toBe(200);
});
