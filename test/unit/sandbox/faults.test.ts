// Each fault switch does what it says, on agent routes only.
import { expect, test } from "bun:test";
import { seconds } from "../../../src/lib/duration.ts";
import { stopClock } from "../../support/fake-time.ts";
import { caller, enrolled, sandboxWith, taskIn, until, waitingClaim } from "./harness.ts";

const codeOf = (error: unknown): unknown => (error instanceof Error && "code" in error ? error.code : error);

test("delay: a request waits before it is handled", async () => {
  await using sandbox = await sandboxWith({ faults: { delay: 30 } });
  const start = performance.now();
  await caller(sandbox).get("/enrollments/unknown");
  expect(performance.now() - start).toBeGreaterThan(28);
});

test("errorRate: the API's own 500, and nothing is processed", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const id = await taskIn("accepted", sandbox, node);
  sandbox.setFaults({ errorRate: 1 });
  const { status, body } = await node.call(id, "started");
  expect(status).toBe(500);
  expect(body).toEqual({
    statusCode: 500,
    path: `/api/v1/agent/tasks/${id}/started`,
    timestamp: expect.any(String),
    message: "Internal server error",
  });
  expect(sandbox.task(id).status).toBe("accepted");
});

test("lostAnswers: processed, and the connection is reset without an answer", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const id = await taskIn("accepted", sandbox, node);
  sandbox.setFaults({ lostAnswers: 1 });
  expect(await node.call(id, "started").catch(codeOf)).toBe("ECONNRESET");
  expect(sandbox.task(id).status).toBe("running");
});

test("a cut connection carries not one byte", async () => {
  await using sandbox = await sandboxWith({ faults: { lostAnswers: 1 } });
  let bytes = 0;
  let closed = false;
  await Bun.connect({
    hostname: "127.0.0.1",
    port: sandbox.port,
    socket: {
      open: (socket) => void socket.write("GET /api/v1/enrollments/x HTTP/1.1\r\nhost: sandbox\r\n\r\n"),
      data: (_, chunk) => void (bytes += chunk.length),
      close: () => void (closed = true),
    },
  });
  await until(() => closed);
  expect(bytes).toBe(0);
});

test("dropAfter: so many requests more, then every connection is cut unprocessed, until it is switched off", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const id = await taskIn("accepted", sandbox, node);
  sandbox.setFaults({ dropAfter: 2 });
  expect((await node.call(id, "control")).status).toBe(200);
  expect((await node.call(id, "control")).status).toBe(200);
  for (let n = 0; n < 3; n++) expect(await node.call(id, "started").catch(codeOf)).toBe("ECONNRESET");
  expect(sandbox.task(id).status).toBe("accepted");
  sandbox.setFaults({ dropAfter: null });
  expect((await node.call(id, "started")).status).toBe(200);
});

test("routes: the others are spared", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const id = await taskIn("running", sandbox, node);
  sandbox.setFaults({ errorRate: 1, routes: ["logs"] });
  expect((await node.call(id, "control")).status).toBe(200);
  expect((await node.call(id, "logs", { stream: "stdout", line: "x" })).status).toBe(500);
});

test("seed: the same dice every time", async () => {
  const run = async (): Promise<number[]> => {
    await using sandbox = await sandboxWith({ faults: { errorRate: 0.5, seed: 7 } });
    const statuses: number[] = [];
    for (let n = 0; n < 12; n++) statuses.push((await caller(sandbox).get("/enrollments/x")).status);
    return statuses;
  };
  const first = await run();
  expect(new Set(first)).toEqual(new Set([404, 500]));
  expect(await run()).toEqual(first);
});

test("freeze: nothing is answered, and what came meanwhile is handled after it, also what was given up", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const id = await taskIn("running", sandbox, node);
  sandbox.setFaults({ freeze: true });
  const headers = { authorization: `Bearer ${node.token}`, "x-agent-node-id": node.id };
  const given = fetch(`${sandbox.url}/api/v1/agent/tasks/${id}/logs`, {
    method: "POST",
    headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify({ stream: "stdout", line: "given up" }),
    signal: AbortSignal.timeout(50),
  });
  expect(codeOf(await given.catch((error: unknown) => error))).toBe(DOMException.TIMEOUT_ERR);
  const waiting = node.call(id, "started");
  expect(sandbox.logs(id)).toEqual([]);
  sandbox.setFaults({ freeze: false });
  expect((await waiting).status).toBe(200);
  await until(() => sandbox.logs(id).length === 1);
});

test("databaseDown: sweeps pause, waiting claims fail, and all is well afterwards", async () => {
  using clock = stopClock();
  const timings = { claimStep: 5, sweepInterval: seconds(1), queuedLimit: 1 };
  await using sandbox = await sandboxWith({ timings });
  const node = await enrolled(sandbox);
  const waiting = await waitingClaim(sandbox, node);
  sandbox.setFaults({ databaseDown: true });
  await clock.pass(seconds(1));
  expect((await waiting.answer).status).toBe(500);
  const { id } = sandbox.createTask({ node: node.id });
  await clock.pass(seconds(10));
  expect(sandbox.task(id).status).toBe("queued");
  sandbox.setFaults({ databaseDown: false });
  await clock.pass(seconds(1));
  await until(() => sandbox.task(id).status === "failed");
});

test("operator routes never suffer", async () => {
  await using sandbox = await sandboxWith({ faults: { dropAfter: 0, errorRate: 1, databaseDown: true } });
  const response = await fetch(`${sandbox.url}/sandbox/v1/nodes`, {
    headers: { authorization: `Bearer ${sandbox.operatorToken}` },
  });
  expect(response.status).toBe(200);
});
