// The envelope of the Caravanserai side: problem documents, foreign pages, faults, the other server on the same port.
import { expect, test } from "bun:test";
import { seconds } from "../../../src/lib/duration.ts";
import {
  beat,
  cara,
  caraSandbox,
  nodeDocument,
  projectDocument,
  reaches,
  readyNode,
  report,
  runningProject,
} from "./caravanserai-harness.ts";
import { stopClock } from "../../support/fake-time.ts";
import { enrolled } from "./harness.ts";

const codeOf = (error: unknown): unknown => (error instanceof Error && "code" in error ? error.code : error);

test("errors are problem documents", async () => {
  await using sandbox = await caraSandbox();
  const { status, headers, body } = await cara(sandbox, "GET /api/v1/projects/shop");
  expect(status).toBe(404);
  expect(headers.get("content-type")).toBe("application/problem+json");
  expect(body).toEqual({
    type: "about:blank",
    title: "Not Found",
    status: 404,
    detail: 'project "shop" not found',
  });
});

test("a body that is no JSON is 400, a huge one 413, another method 405", async () => {
  await using sandbox = await caraSandbox();
  const broken = await cara(sandbox, "POST /api/v1/projects", undefined, { body: "{" });
  expect([broken.status, broken.body["detail"]]).toEqual([400, expect.stringContaining("not JSON")]);
  expect((await cara(sandbox, "POST /api/v1/projects")).body["detail"]).toBe("apiVersion: is required");
  const huge = await cara(sandbox, "POST /api/v1/projects", undefined, { body: " ".repeat(1024 * 1024 + 1) });
  expect(huge.status).toBe(413);
  const patched = await cara(sandbox, "PATCH /api/v1/projects");
  expect([patched.status, patched.headers.get("allow")]).toEqual([405, "POST, GET"]);
  expect((await cara(sandbox, "GET /api/v1/projects/a/b/c")).status).toBe(404);
});

test("a page of another origin may not start containers, our own may", async () => {
  await using sandbox = await caraSandbox();
  const from = (origin: string) =>
    cara(sandbox, "POST /api/v1/projects", projectDocument("shop"), {
      headers: { origin, "content-type": "text/plain" },
    });
  expect((await from("https://evil.example")).status).toBe(403);
  expect((await from("null")).status).toBe(403);
  expect(sandbox.projects()).toEqual([]);
  expect((await from(sandbox.url)).status).toBe(201);
});

test("the routes of the other server are its own, and operators' nodes are not mixed up", async () => {
  await using sandbox = await caraSandbox();
  const node = await enrolled(sandbox, "demo-1");
  await readyNode(sandbox, "demo-1");
  expect((await node.claim()).status).toBe(200);
  expect((await cara(sandbox, "POST /api/v1/agent/heartbeat", {})).body).toHaveProperty("statusCode", 400);
  expect(sandbox.nodes().map(({ id }) => id)).toEqual([node.id]);
  expect(sandbox.caraNodes().map(({ metadata }) => metadata.name)).toEqual(["demo-1"]);
});

test.each([
  ["cara.register", "POST /api/v1/nodes", nodeDocument("n2")],
  ["cara.heartbeat", "POST /api/v1/nodes/n1/heartbeat", {}],
  ["cara.projects", "GET /api/v1/projects", undefined],
  ["cara.project", "GET /api/v1/projects/shop", undefined],
  ["cara.status", "PATCH /api/v1/projects/shop/status", { phase: "Running" }],
])("faults of %s spare the others", async (route, line, body) => {
  await using sandbox = await caraSandbox();
  await runningProject(sandbox, "shop");
  sandbox.setFaults({ errorRate: 1, routes: [route] });
  expect(await cara(sandbox, line, body)).toMatchObject({
    status: 500,
    body: { detail: "internal server error" },
  });
  expect((await cara(sandbox, "GET /api/v1/nodes")).status).toBe(200);
});

test("a lost answer is processed; the connection is cut", async () => {
  await using sandbox = await caraSandbox();
  await runningProject(sandbox, "shop");
  sandbox.setFaults({ lostAnswers: 1 });
  expect(await report(sandbox, "shop", "Failed", "ReconcileError").catch(codeOf)).toBe("ECONNRESET");
  expect(sandbox.project("shop").status.phase).toBe("Failed");
});

test("while the database is down everything is 500, no node becomes NotReady and nothing is moved", async () => {
  using clock = stopClock();
  await using sandbox = await caraSandbox({ timings: { nodeSilence: seconds(1), rescheduleGrace: 1 } });
  await runningProject(sandbox, "shop");
  sandbox.setFaults({ databaseDown: true });
  await clock.pass(seconds(10));
  expect((await beat(sandbox, "n1")).status).toBe(500);
  expect((await cara(sandbox, "GET /api/v1/projects")).status).toBe(500);
  expect(sandbox.caraNode("n1").status.state).toBe("Ready");
  expect(sandbox.project("shop").status.phase).toBe("Running");
});

test("while the database is down nothing is scheduled, and afterwards it is", async () => {
  using clock = stopClock();
  await using sandbox = await caraSandbox();
  await readyNode(sandbox, "n1");
  sandbox.setFaults({ databaseDown: true });
  sandbox.applyProject(projectDocument("shop"));
  await clock.pass(seconds(10));
  expect(sandbox.project("shop").status.phase).toBe("Pending");
  sandbox.setFaults({ databaseDown: false });
  await clock.pass(seconds(1));
  await reaches(sandbox, "shop", "Scheduled");
});

test("operators' own routes need the token, and do what the functions do", async () => {
  await using sandbox = await caraSandbox({ faults: { errorRate: 1, databaseDown: true } });
  const headers = { authorization: `Bearer ${sandbox.operatorToken}`, "content-type": "application/json" };
  const operate = (line: string, body?: unknown) => cara(sandbox, line, body, { headers });
  expect((await cara(sandbox, "GET /sandbox/v1/cara/projects")).status).toBe(401);
  const put = () => operate("PUT /sandbox/v1/cara/projects", projectDocument("shop"));
  expect((await put()).body).toMatchObject({ result: "created", resource: { metadata: { name: "shop" } } });
  expect((await put()).body).toMatchObject({ result: "unchanged" });
  expect((await operate("PUT /sandbox/v1/cara/projects", { kind: "Project" })).status).toBe(400);
  expect((await operate("GET /sandbox/v1/cara/projects/shop")).body).toMatchObject({ kind: "Project" });
  expect((await operate("GET /sandbox/v1/cara/projects/shop/reports")).status).toBe(200);
  expect((await operate("DELETE /sandbox/v1/cara/projects/shop")).body).toEqual({ ok: true });
  expect(await operate("GET /sandbox/v1/cara/projects/shop")).toMatchObject({
    status: 404,
    body: { known: [] },
  });
  await operate("PUT /sandbox/v1/cara/nodes", nodeDocument("n1"));
  const drained = await operate("PUT /sandbox/v1/cara/nodes/n1/unschedulable", { unschedulable: true });
  expect(drained.body).toMatchObject({ spec: { unschedulable: true } });
  expect((await operate("GET /sandbox/v1/timings")).body).toMatchObject({
    node_silence: "1m30s",
    reschedule_grace: "3m",
  });
});

test("everything goes: what has a node is Terminating, Failed or not, the rest is removed", async () => {
  await using sandbox = await caraSandbox();
  await runningProject(sandbox, "a");
  await runningProject(sandbox, "b");
  await report(sandbox, "b", "Failed", "ReconcileError");
  sandbox.setUnschedulable("n1", true);
  await cara(sandbox, "POST /api/v1/projects", projectDocument("c"));
  expect(sandbox.terminateProjects().map(({ metadata, status }) => [metadata.name, status.phase])).toEqual([
    ["a", "Terminating"],
    ["b", "Terminating"],
  ]);
});
