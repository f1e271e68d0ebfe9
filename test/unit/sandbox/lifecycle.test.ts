// The state machine of a task, call by call, and what a completion stores.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Sandbox } from "../../../src/sandbox/sandbox.ts";
import { type TestNode, enrolled, sandboxWith, taskIn, until, uuid } from "./harness.ts";

let sandbox: Sandbox;
let node: TestNode;
beforeAll(async () => {
  sandbox = await sandboxWith();
  node = await enrolled(sandbox);
});
afterAll(() => sandbox.stop());

const log = { stream: "stdout", line: "hello" };
const states = ["queued", "accepted", "running", "success", "failed", "cancelled"] as const;

describe("each call in each state", () => {
  const table: Record<string, Record<(typeof states)[number], string | 200>> = {
    accepted: {
      queued: "Task <id> is in queued state and cannot be accepted",
      accepted: 200,
      running: 200,
      success: 200,
      failed: 200,
      cancelled: 200,
    },
    started: {
      queued: "Task <id> must be accepted before it can be started",
      accepted: 200,
      running: 200,
      success: "Task <id> is already success and cannot be started",
      failed: "Task <id> is already failed and cannot be started",
      cancelled: "Task <id> is already cancelled and cannot be started",
    },
    logs: {
      queued: "Task <id> is in queued state and cannot accept logs",
      accepted: "Task <id> is in accepted state and cannot accept logs",
      running: 200,
      success: "Task <id> is in success state and cannot accept logs",
      failed: "Task <id> is in failed state and cannot accept logs",
      cancelled: "Task <id> is in cancelled state and cannot accept logs",
    },
    completed: {
      queued: "Task <id> is in queued state and cannot be completed",
      accepted: "Task <id> is in accepted state and cannot be completed",
      running: 200,
      success: 200,
      failed: "Task <id> is already failed and cannot transition to success",
      cancelled: "Task <id> is already cancelled and cannot transition to success",
    },
    control: { queued: 200, accepted: 200, running: 200, success: 200, failed: 200, cancelled: 200 },
  };
  const bodies: Record<string, unknown> = { logs: log, completed: { status: "success" } };

  for (const [step, row] of Object.entries(table)) {
    for (const state of states) {
      const expected = row[state];
      test(`${step} on a ${state} task: ${expected === 200 ? "200" : "409"}`, async () => {
        const id = await taskIn(state, sandbox, node);
        const answer = await node.call(id, step, bodies[step] ?? {});
        if (expected === 200) expect(answer.status).toBe(200);
        else
          expect(answer).toMatchObject({
            status: 409,
            body: { message: expected.replace("<id>", id), error: "Conflict" },
          });
        sandbox
          .tasks()
          .filter(({ status }) => status === "queued")
          .forEach(({ id }) => sandbox.cancel(id));
      });
    }
  }
});

test("accepted answers as a duplicate", async () => {
  const id = await taskIn("accepted", sandbox, node);
  expect((await node.call(id, "accepted")).body).toEqual({ ok: true, duplicate: true, taskId: id });
});

test("started takes the timestamp it is given, clears the lease, and changes nothing when repeated", async () => {
  const id = await taskIn("accepted", sandbox, node);
  const first = await node.call(id, "started", { taskId: id, timestamp: "2026-05-01T10:00:00.123456Z" });
  expect(first.body).toMatchObject({
    id,
    status: "running",
    startedAt: "2026-05-01T10:00:00.123Z",
    leaseUntil: null,
    claimedBy: null,
    claimToken: null,
  });
  expect((await node.call(id, "started", { timestamp: "2027-01-01T00:00:00Z" })).body).toEqual(first.body);
});

test("a task of another node, or of nobody, is not found", async () => {
  const other = await enrolled(sandbox, "other");
  const id = await taskIn("running", sandbox, node);
  for (const taskId of [id, uuid]) {
    for (const step of ["accepted", "started", "control"]) {
      expect(await other.call(taskId, step)).toMatchObject({
        status: 404,
        body: { message: `Task ${taskId} was not found for node ${other.id}` },
      });
    }
  }
});

test("a path id that is no UUID is an internal error, not a 404", async () => {
  expect(await node.call("nonsense", "control")).toMatchObject({
    status: 500,
    body: { message: "Internal server error" },
  });
});

test("a task id in the body must be the one of the path", async () => {
  const id = await taskIn("accepted", sandbox, node);
  expect(await node.call(id, "started", { taskId: uuid })).toMatchObject({
    status: 400,
    body: { message: "taskId in request body must match route parameter" },
  });
});

test("a started call after the lease has ended is refused", async () => {
  await using quick = await sandboxWith({ timings: { claimLease: 0 } });
  const node = await enrolled(quick);
  const id = await taskIn("accepted", quick, node);
  expect(await node.call(id, "started")).toMatchObject({
    status: 409,
    body: { message: `Task ${id} lease expired before started transition` },
  });
});

describe("a completion", () => {
  const complete = async (body: Record<string, unknown>) => {
    const id = await taskIn("running", sandbox, node);
    const answer = await node.call(id, "completed", body);
    return { id, answer, stored: sandbox.task(id) };
  };

  test("with a result discards exit code, duration and error", async () => {
    const { stored } = await complete({
      status: "failed",
      result: { a: 1 },
      exitCode: 3,
      durationMs: 5,
      error: "no",
    });
    expect(stored.result).toEqual({ a: 1 });
  });

  test("without a result gets one built of what was sent", async () => {
    const timestamp = "2026-05-01T10:00:00.000Z";
    const { stored } = await complete({
      status: "timeout",
      exitCode: -1,
      durationMs: 5,
      error: "slow",
      timestamp,
    });
    expect(stored).toMatchObject({
      status: "failed",
      finished_at: timestamp,
      result: { exitCode: -1, durationMs: 5, completedAt: timestamp, error: "slow", reason: "timeout" },
    });
  });

  test("that says nothing has no result, and keeps the last log line as output", async () => {
    const id = await taskIn("running", sandbox, node);
    await node.call(id, "logs", log);
    await node.call(id, "completed", { status: "success" });
    expect(sandbox.task(id)).toMatchObject({ result: null, output: "hello" });
  });

  test("without output uses the error, and keeps an empty output empty", async () => {
    expect((await complete({ status: "failed", error: "broken" })).stored.output).toBe("broken");
    expect((await complete({ status: "failed", error: "broken", output: "" })).stored.output).toBe("");
  });

  test("is cut to the first 8000 UTF-16 units of its output", async () => {
    const { stored } = await complete({ status: "success", output: "a".repeat(8_001) });
    expect(stored.output).toHaveLength(8_000);
    expect(stored.output_truncated).toBe(true);
    expect((await complete({ status: "success", output: "a".repeat(8_000) })).stored.output_truncated).toBe(
      false,
    );
  });

  test("whose output ends in half a character is stored and answered with 500; a retry is answered with 200", async () => {
    const { id, answer, stored } = await complete({ status: "success", output: "half \ud83d" });
    expect(answer.status).toBe(500);
    expect(stored.status).toBe("success");
    expect((await node.call(id, "completed", { status: "success", output: "half \ud83d" })).status).toBe(200);
  });

  test("with a NUL, or half a character in its result, is refused with 500 and not stored", async () => {
    for (const body of [{ output: "a\0b" }, { result: { a: "\0" } }, { result: { a: ["\ud83d"] } }]) {
      const { answer, stored } = await complete({ status: "success", ...body });
      expect(answer.status).toBe(500);
      expect(stored.status).toBe("running");
    }
  });

  test("as canceled is stored as cancelled, and the first outcome wins", async () => {
    const { id, stored } = await complete({ status: "canceled" });
    expect(stored.status).toBe("cancelled");
    expect((await node.call(id, "completed", { status: "cancelled" })).status).toBe(200);
    expect((await node.call(id, "completed", { status: "timeout" })).body["message"]).toBe(
      `Task ${id} is already cancelled and cannot transition to timeout`,
    );
  });
});

describe("logs", () => {
  test("keep newlines, and know three levels", async () => {
    const id = await taskIn("running", sandbox, node);
    for (const stream of ["stdout", "stderr", "system", "STDOUT"]) {
      await node.call(id, "logs", { stream, line: `${stream}\n\u001b[1mbold` });
    }
    expect(sandbox.logs(id).map(({ level, line }) => [level, line])).toEqual([
      ["stdout", "stdout\n\u001b[1mbold"],
      ["stderr", "stderr\n\u001b[1mbold"],
      ["info", "system\n\u001b[1mbold"],
      ["info", "STDOUT\n\u001b[1mbold"],
    ]);
  });

  test("with half a character are accepted, with a NUL they are an internal error", async () => {
    const id = await taskIn("running", sandbox, node);
    expect((await node.call(id, "logs", { stream: "stdout", line: "\ud83d" })).status).toBe(200);
    expect((await node.call(id, "logs", { stream: "stdout", line: "\0" })).status).toBe(500);
  });

  test("show an operator the first 100 rows only", async () => {
    const id = await taskIn("running", sandbox, node);
    for (let n = 0; n < 103; n++) await node.call(id, "logs", { stream: "stdout", line: `row ${n}` });
    expect(sandbox.logs(id).at(-1)?.line).toBe("row 99");
    expect(sandbox.logs(id, { all: true }).at(-1)?.line).toBe("row 102");
  });

  test("that overlap a completion put the task back to running", async () => {
    await using slow = await sandboxWith({ timings: { logRaceWindow: 50 } });
    const node = await enrolled(slow);
    const id = await taskIn("running", slow, node);
    const late = node.call(id, "logs", log);
    await until(() => slow.logs(id).length === 1);
    await node.call(id, "completed", { status: "success", output: "done" });
    expect((await late).status).toBe(200);
    expect(slow.task(id)).toMatchObject({ status: "running", output: "hello", finished_at: null });
  });

  test("that overlap an operator's cancel swallow it", async () => {
    await using slow = await sandboxWith({ timings: { logRaceWindow: 50 } });
    const node = await enrolled(slow);
    const id = await taskIn("running", slow, node);
    const late = node.call(id, "logs", log);
    await until(() => slow.logs(id).length === 1);
    slow.cancel(id, "stop it");
    await late;
    expect((await node.call(id, "control")).body["cancelRequested"]).toBe(false);
  });
});

describe("an operator's cancel", () => {
  test("of a running task is a request that control passes on", async () => {
    const id = await taskIn("running", sandbox, node);
    sandbox.cancel(id, "enough");
    expect((await node.call(id, "control")).body).toMatchObject({
      taskId: id,
      status: "running",
      cancelRequested: true,
      cancelReason: "enough",
    });
    expect((await node.call(id, "completed", { status: "success" })).status).toBe(200);
    expect((await node.call(id, "control")).body).toMatchObject({
      status: "success",
      cancelRequested: false,
    });
  });

  test("of a waiting task cancels it at once, which control tells by the status alone", async () => {
    const id = await taskIn("accepted", sandbox, node);
    sandbox.cancel(id);
    expect((await node.call(id, "control")).body).toMatchObject({
      status: "cancelled",
      cancelRequested: false,
    });
  });
});
