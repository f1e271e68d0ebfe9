// The envelope around every call: throttling, compression, correlation, health, size limit, stop.
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seconds } from "../../../src/lib/duration.ts";
import { startSandbox } from "../../../src/sandbox/sandbox.ts";
import { stopClock } from "../../support/fake-time.ts";
import { caller, enrolled, sandboxWith, waitingClaim } from "./harness.ts";

test("requests above the limit get 429 and a pause to keep, each route for itself, task routes never", async () => {
  await using sandbox = await startSandbox({ timings: { throttleLimit: 3 } });
  const node = await enrolled(sandbox);
  const beat = () => node.post("/agent/heartbeat", { nodeId: node.id, agentToken: node.token });
  const answers = [await beat(), await beat(), await beat()];
  expect(answers.map(({ headers }) => headers.get("x-ratelimit-remaining"))).toEqual(["2", "1", "0"]);
  expect(answers[0]?.headers.get("x-ratelimit-limit")).toBe("3");
  const refused = await beat();
  expect(refused).toMatchObject({
    status: 429,
    body: { statusCode: 429, message: "ThrottlerException: Too Many Requests" },
  });
  expect(refused.body).not.toHaveProperty("error");
  expect(refused.headers.get("retry-after")).toBe("60");
  for (let n = 0; n < 5; n++) expect((await node.claim()).status).toBe(200);
  expect((await node.get("/enrollments/unknown")).status).toBe(404);
});

test("the pause that 429 names is enough", async () => {
  using clock = stopClock();
  await using sandbox = await startSandbox({ timings: { throttleLimit: 1, throttleWindow: seconds(40) } });
  const ask = () => caller(sandbox).get("/enrollments/unknown");
  expect((await ask()).status).toBe(404);
  const { status, headers } = await ask();
  expect(status).toBe(429);
  await clock.pass(seconds(Number(headers.get("retry-after")) - 1));
  expect((await ask()).status).toBe(429);
  await clock.pass(seconds(1));
  expect((await ask()).status).toBe(404);
});

test("a gzip body is accepted, and a large answer is compressed for those who offer it", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const { id } = sandbox.createTask({ node: node.id, payload: { command: "x".repeat(2_000) } });
  const answer = await node.post(
    "/agent/tasks/claim",
    {},
    { body: Bun.gzipSync(JSON.stringify({ waitMs: 0 })), headers: { "content-encoding": "gzip" } },
  );
  expect(answer.body["task"]).toMatchObject({ id });
  const plain = await fetch(`${sandbox.url}/api/v1/agent/tasks/${id}/control`, {
    headers: {
      authorization: `Bearer ${node.token}`,
      "x-agent-node-id": node.id,
      "accept-encoding": "identity",
    },
  });
  expect(plain.headers.get("content-encoding")).toBeNull();
});

test("a correlation id is echoed, or made", async () => {
  await using sandbox = await sandboxWith();
  const ask = (headers: Record<string, string>) => caller(sandbox, headers).get("/enrollments/unknown");
  expect((await ask({ "x-correlation-id": "mine" })).headers.get("x-correlation-id")).toBe("mine");
  expect((await ask({})).headers.get("x-correlation-id")).toMatch(/^[0-9a-f-]{36}$/);
});

test("a body above 50 MB is an internal error", async () => {
  await using sandbox = await sandboxWith();
  const answer = await caller(sandbox).post(
    "/agent/heartbeat",
    {},
    { body: " ".repeat(50 * 1024 * 1024 + 1) },
  );
  expect(answer.status).toBe(500);
});

test("health needs no prefix and no credentials, and connections are kept for 5 seconds", async () => {
  await using sandbox = await sandboxWith();
  const response = await fetch(`${sandbox.url}/health`);
  expect(response.status).toBe(200);
  expect(response.headers.get("keep-alive")).toBe("timeout=5");
});

test("a taken port is an error that names who has it", async () => {
  await using sandbox = await sandboxWith();
  const error: unknown = await startSandbox({ port: sandbox.port }).catch((error: unknown) => error);
  expect(error).toMatchObject({
    code: "sandbox.listen",
    message: expect.stringMatching(
      /^cannot listen on 127\.0\.0\.1:\d+: bun(\.exe)? \(pid \d+\) listens there$/,
    ),
  });
});

test("stopping resets waiting claims", async () => {
  const sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const waiting = await waitingClaim(sandbox, node);
  await sandbox.stop();
  expect(await waiting.answer.catch((error: unknown) => error)).toBeInstanceOf(Error);
});

test("a data directory keeps nodes and tasks over a restart", async () => {
  const data = mkdtempSync(join(tmpdir(), "sandbox-test-"));
  try {
    const before = await sandboxWith({ data });
    const node = await enrolled(before);
    const { id } = before.createTask({ node: node.id, payload: { command: "true" } });
    await before.stop();
    await using after = await sandboxWith({ data });
    expect(after.node("demo-1").id).toBe(node.id);
    expect(after.task(id)).toMatchObject({ status: "queued", payload: { command: "true" } });
  } finally {
    rmSync(data, { recursive: true });
  }
});
