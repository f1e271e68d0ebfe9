// What the API refuses with 400, in its own words.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Sandbox } from "../../../src/sandbox/sandbox.ts";
import { type TestNode, caller, enrolled, sandboxWith, taskIn, uuid } from "./harness.ts";

let sandbox: Sandbox;
let node: TestNode;
let running: string;
beforeAll(async () => {
  sandbox = await sandboxWith();
  node = await enrolled(sandbox);
  running = await taskIn("running", sandbox, node);
});
afterAll(() => sandbox.stop());

const token = "t".repeat(32);
const refusals: [route: string, body: unknown, errors: string[]][] = [
  ["claim", { location: {} }, ["property location should not exist"]],
  ["claim", { waitMs: "soon" }, ["waitMs must be an integer number"]],
  [
    "claim",
    { capabilities: "all" },
    ["each value in capabilities must be a string", "capabilities must be an array"],
  ],
  ["claim", { rootAccess: { zone: 1 } }, ["rootAccess.property zone should not exist"]],
  [
    "claim",
    { rootAccess: { lastAppliedAt: "" } },
    ["rootAccess.lastAppliedAt must be a valid ISO 8601 date string"],
  ],
  [
    "claim",
    { rootAccess: { appliedProfile: "root" } },
    [
      "rootAccess.appliedProfile must be one of the following values: off, operational, task, terminal, operational_task, operational_terminal, task_terminal, all",
    ],
  ],
  ["logs", { stream: "stdout", line: "" }, ["line must be longer than or equal to 1 characters"]],
  ["logs", { stream: "s".repeat(51), line: " " }, ["stream must be shorter than or equal to 50 characters"]],
  [
    "logs",
    { stream: "stdout", line: "x".repeat(5_001) },
    ["line must be shorter than or equal to 5000 characters"],
  ],
  [
    "logs",
    { entries: [] },
    [
      "property entries should not exist",
      "stream must be shorter than or equal to 50 characters",
      "stream must be longer than or equal to 1 characters",
      "stream must be a string",
      "line must be shorter than or equal to 5000 characters",
      "line must be longer than or equal to 1 characters",
      "line must be a string",
    ],
  ],
  ["started", { timestamp: "yesterday" }, ["timestamp must be a valid ISO 8601 date string"]],
  ["started", { taskId: "7c1e" }, ["taskId must be a UUID"]],
  [
    "completed",
    { status: "success", completedAt: "2026-01-01T00:00:00Z" },
    ["property completedAt should not exist"],
  ],
  [
    "completed",
    { status: "done" },
    ["status must be one of the following values: success, failed, cancelled, canceled, timeout"],
  ],
  ["completed", { status: "success", result: [] }, ["result must be an object"]],
  ["completed", { status: "success", durationMs: 1.5 }, ["durationMs must be an integer number"]],
  [
    "completed",
    { status: "success", output: "x".repeat(200_001) },
    ["output must be shorter than or equal to 200000 characters"],
  ],
  [
    "completed",
    { status: "failed", error: "x".repeat(10_001) },
    ["error must be shorter than or equal to 10000 characters"],
  ],
  [
    "/agent/heartbeat",
    { nodeId: uuid, agentToken: token, agentVersion: "" },
    ["agentVersion must be longer than or equal to 1 characters"],
  ],
  [
    "/agent/heartbeat",
    { nodeId: uuid, agentToken: "short" },
    ["agentToken must be longer than or equal to 32 characters"],
  ],
  ["/enrollments/initiate", { email: "ops", hostname: "web" }, ["email must be an email"]],
  [
    "/enrollments/initiate",
    { email: "a@b.co", hostname: " w " },
    ["hostname must be longer than or equal to 2 characters"],
  ],
  [
    "/enrollments/initiate",
    { email: "a@b.co", hostname: "web", additionalInfo: "x" },
    ["additionalInfo must be an object"],
  ],
  [
    "/node-installs/consume",
    { token: "long enough", hostname: "web", additionalInfo: { location: "here" } },
    ["additionalInfo.property location should not exist"],
  ],
  [
    "/node-installs/progress",
    { token: "long enough", stage: "x1", progressPercent: 101 },
    ["progressPercent must not be greater than 100"],
  ],
  [
    "/agent-updates/targets/x/progress",
    { status: "done", progressPercent: 5 },
    ["status must be one of the following values: "],
  ],
];

describe("a refused body", () => {
  for (const [route, body, errors] of refusals) {
    test(`${route} ${JSON.stringify(body).slice(0, 70)}`, async () => {
      const path = route.startsWith("/")
        ? route
        : `/agent/tasks/${route === "claim" ? "" : `${running}/`}${route}`;
      const answer = await node.post(path, body);
      expect(answer.body).toMatchObject({
        statusCode: 400,
        path: `/api/v1${path}`,
        error: "Bad Request",
        message: errors.join("; "),
        errors,
      });
    });
  }
});

test("numbers become text and numeric text becomes numbers", async () => {
  expect((await node.call(running, "logs", { stream: 1, line: 42 })).body).toMatchObject({
    level: "info",
    message: "42",
  });
  expect((await node.claim({ waitMs: "0" })).status).toBe(200);
});

test("null for an optional field counts as absent", async () => {
  expect((await node.claim({ waitMs: 0, capabilities: null, rootAccess: null })).status).toBe(200);
  expect((await node.call(running, "started", { timestamp: null, taskId: null })).status).toBe(200);
});

test("a line of 5000 emoji is accepted: lengths count code points", async () => {
  expect((await node.call(running, "logs", { stream: "stdout", line: "😀".repeat(5_000) })).status).toBe(200);
});

test("an empty body and a body without a content type are fine where nothing is required", async () => {
  const path = `/agent/tasks/${running}/started`;
  const response = await fetch(`${sandbox.url}/api/v1${path}`, {
    method: "POST",
    headers: { authorization: `bearer ${node.token}`, "x-agent-node-id": node.id },
  });
  expect(response.status).toBe(200);
});

test("malformed JSON is 400 before credentials are checked; a bad body with bad credentials is 401", async () => {
  const stranger = caller(sandbox);
  expect((await stranger.post("/agent/tasks/claim", {}, { body: "{oops" })).status).toBe(400);
  expect((await stranger.post("/agent/tasks/claim", { nonsense: 1 })).status).toBe(401);
});

test("an unknown route says so in the API's words", async () => {
  expect((await node.get("/agent/tasks")).body).toMatchObject({
    statusCode: 404,
    message: "Cannot GET /api/v1/agent/tasks",
    error: "Not Found",
  });
});
