// The life of a task over the socket, where it differs from HTTP.
import { expect, setDefaultTimeout, test } from "bun:test";
import { onlineAgent } from "./agent-socket.ts";
import { enrolled, sandboxWith, taskIn, uuid } from "./harness.ts";

setDefaultTimeout(150_000);

test("a queued task is started, logged and completed, and its operator is notified", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  using agent = await onlineAgent(sandbox, node);
  const taskId = await taskIn("queued", sandbox, node);
  const output = "x".repeat(300_000);
  expect(await agent.ask("task.accepted", { taskId })).toEqual({ ok: true, taskId });
  expect(await agent.ask("task.started", { taskId })).toEqual({ ok: true, taskId });
  expect(await agent.ask("task.started", { taskId })).toMatchObject({ ok: true });
  expect(await agent.ask("task.log", { taskId, stream: "stdout", line: "hello" })).toMatchObject({
    ok: true,
  });
  expect(await agent.ask("task.completed", { taskId, status: "timeout", output })).toMatchObject({
    ok: true,
  });
  expect(sandbox.task(taskId)).toMatchObject({ status: "failed", output, output_truncated: false });
  expect(sandbox.logs(taskId).map(({ line }) => line)).toContain("hello");
  expect(sandbox.events().map(({ type }) => type)).toEqual(["task.failed"]);
});

test("a task that was claimed over HTTP cannot be started here, but be completed", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  using agent = await onlineAgent(sandbox, node);
  const taskId = await taskIn("accepted", sandbox, node);
  expect(await agent.ask("task.started", { taskId })).toEqual({
    ok: false,
    eventType: "task.started",
    message: `Task ${taskId} is in accepted state and cannot be started`,
  });
  await node.call(taskId, "started");
  expect(await agent.ask("task.completed", { taskId, status: "success" })).toMatchObject({ ok: true });
  expect(sandbox.task(taskId).status).toBe("success");
});

test("two log lines of the same millisecond lose one", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  using agent = await onlineAgent(sandbox, node);
  const taskId = await taskIn("running", sandbox, node);
  const timestamp = "2026-05-01T00:00:00.000Z";
  const log = (line: string) => agent.ask("task.log", { taskId, stream: "stdout", line, timestamp });
  expect(await log("one")).toEqual({ ok: true, taskId });
  expect(await log("two")).toEqual({ ok: true, duplicate: true, taskId });
  expect(sandbox.logs(taskId).map(({ line }) => line)).toEqual(["one"]);
});

test("lines outside 1 to 5000 characters, output over a million and tasks of others are refused", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  using agent = await onlineAgent(sandbox, node);
  const taskId = await taskIn("running", sandbox, node);
  const refused = { ok: false, message: "Bad Request Exception" };
  for (const line of ["", "x".repeat(5_001)])
    expect(await agent.ask("task.log", { taskId, stream: "stdout", line })).toMatchObject(refused);
  expect(await agent.ask("task.completed", { taskId, status: "done" })).toMatchObject(refused);
  expect(await agent.ask("task.started", { taskId: uuid })).toMatchObject({
    ok: false,
    message: `Task ${uuid} was not found for node ${node.id}`,
  });
});
