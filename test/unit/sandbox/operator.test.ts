// The operator's REST: who may call, and that what it does is what the functions do.
import { expect, test } from "bun:test";
import type { Sandbox } from "../../../src/sandbox/sandbox.ts";
import { caller, enrolled, sandboxWith } from "./harness.ts";

async function operate(
  sandbox: Sandbox,
  line: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: unknown }> {
  const [method = "GET", path = ""] = line.split(" ");
  const response = await fetch(`${sandbox.url}/sandbox/v1${path}`, {
    method,
    headers: {
      authorization: `Bearer ${sandbox.operatorToken}`,
      "content-type": "application/json",
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: await response.json() };
}

test("every call needs the operator's token, also one to a path that does not exist", async () => {
  await using sandbox = await sandboxWith();
  for (const line of ["GET /nodes", "POST /tasks", "PUT /faults", "GET /nothing"]) {
    expect((await operate(sandbox, line, undefined, { authorization: "Bearer guess" })).status).toBe(401);
    expect((await operate(sandbox, line, undefined, { authorization: "" })).status).toBe(401);
  }
  expect((await operate(sandbox, "GET /nothing")).status).toBe(404);
});

test("a random operator token has 32 characters or more", async () => {
  const { startSandbox } = await import("../../../src/sandbox/sandbox.ts");
  await using sandbox = await startSandbox();
  expect(sandbox.operatorToken).toMatch(/^[\w-]{32,}$/);
});

test("a page of another origin is refused, our own is not", async () => {
  await using sandbox = await sandboxWith();
  expect((await operate(sandbox, "GET /nodes", undefined, { origin: "https://evil.example" })).status).toBe(
    403,
  );
  expect((await operate(sandbox, "GET /nodes", undefined, { origin: sandbox.url })).status).toBe(200);
  const local = `http://localhost:${sandbox.port}`;
  expect((await operate(sandbox, "GET /nodes", undefined, { origin: local })).status).toBe(200);
});

test("approve, create, show, log and cancel, from the first request to the last", async () => {
  await using sandbox = await sandboxWith();
  const machine = { email: "ops@example.com", hostname: "web-01" };
  const { body } = await caller(sandbox).post("/enrollments/initiate", machine);
  expect((await operate(sandbox, "GET /enrollments")).body).toMatchObject([
    { ...machine, status: "pending" },
  ]);
  expect(
    await operate(sandbox, "POST /enrollments/approve", { token: body["token"], name: "front" }),
  ).toMatchObject({
    status: 201,
    body: { name: "front", hostname: "web-01" },
  });
  const created = await operate(sandbox, "POST /tasks", { node: "front", payload: { command: "id" } });
  expect(created).toMatchObject({
    status: 201,
    body: { status: "queued", type: "shell.exec", payload: { command: "id" } },
  });
  const id = sandbox.tasks()[0]?.id ?? "";
  expect((await operate(sandbox, `GET /tasks/${id.slice(0, 8)}`)).body).toMatchObject({ id });
  expect((await operate(sandbox, `GET /tasks/${id}/logs?all=1`)).body).toEqual([]);
  expect((await operate(sandbox, `POST /tasks/${id}/cancel`, { reason: "no" })).body).toMatchObject({
    status: "cancelled",
    cancel_reason: "no",
  });
  expect((await operate(sandbox, `POST /tasks/${id}/cancel`, {})).status).toBe(409);
});

test("an unknown node or task is 404 and tells what there is", async () => {
  await using sandbox = await sandboxWith();
  await enrolled(sandbox);
  expect(await operate(sandbox, "GET /nodes/demo-2")).toMatchObject({
    status: 404,
    body: { message: 'no node is called "demo-2"', known: ["demo-1"] },
  });
  expect((await operate(sandbox, "GET /tasks/7c1e")).status).toBe(404);
});

test("root access, maintenance and deletion of a node", async () => {
  await using sandbox = await sandboxWith();
  await enrolled(sandbox);
  expect((await operate(sandbox, "PUT /nodes/demo-1/root-access", { profile: "all" })).body).toMatchObject({
    root_access: { profile: "all", applied_profile: "off", status: "pending" },
  });
  expect((await operate(sandbox, "PUT /nodes/demo-1/root-access", { profile: "everything" })).status).toBe(
    400,
  );
  expect((await operate(sandbox, "PUT /nodes/demo-1/maintenance", { enabled: true })).body).toMatchObject({
    maintenance: true,
  });
  expect((await operate(sandbox, "DELETE /nodes/demo-1")).status).toBe(200);
  expect(sandbox.nodes()).toEqual([]);
});

test("faults and timings are read and changed as documents, and an unknown key is refused", async () => {
  await using sandbox = await sandboxWith();
  expect((await operate(sandbox, "PUT /faults", { delay: "200ms", error_rate: 0.1 })).body).toMatchObject({
    delay: "200ms",
    error_rate: 0.1,
    lost_answers: 0,
  });
  expect(sandbox.faults).toMatchObject({ delay: 200, errorRate: 0.1 });
  await operate(sandbox, "PUT /timings", { claim_lease: "5s", throttle_limit: 7 });
  expect(sandbox.timings).toMatchObject({ claimLease: 5_000, throttleLimit: 7 });
  expect((await operate(sandbox, "GET /timings")).body).toMatchObject({
    claim_lease: "5s",
    queued_limit: "2m",
  });
  expect((await operate(sandbox, "PUT /faults", { errorRate: 1 })).status).toBe(400);
  expect((await operate(sandbox, "PUT /faults", { error_rate: 2 })).status).toBe(400);
});

test("an install token is shown once, to the operator who made it", async () => {
  await using sandbox = await sandboxWith();
  const made = await operate(sandbox, "POST /node-installs", { node_name: "web-07" });
  expect(made.body).toMatchObject({ node_name: "web-07", token: expect.any(String), status: "pending" });
  expect((await operate(sandbox, "GET /node-installs")).body).not.toMatchObject([
    { token: expect.any(String) },
  ]);
});
