// Where projects go, and where to when their node is lost.
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hours, seconds } from "../../../src/lib/duration.ts";
import {
  beat,
  cara,
  caraSandbox,
  nodeDocument,
  projectDocument,
  reaches,
  readyNode,
  runningProject,
  twoPasses,
} from "./caravanserai-harness.ts";
import { stopClock } from "../../support/fake-time.ts";
import { until } from "./harness.ts";

test("the first Ready node by name gets the project", async () => {
  await using sandbox = await caraSandbox();
  await cara(sandbox, "POST /api/v1/nodes", nodeDocument("a-silent"));
  for (const name of ["c", "b"]) await readyNode(sandbox, name);
  await cara(sandbox, "POST /api/v1/projects", projectDocument("shop"));
  expect((await reaches(sandbox, "shop", "Scheduled")).status.nodeRef).toBe("b");
});

test("a change is seen at once, not only at the next pass", async () => {
  await using sandbox = await caraSandbox({ timings: { projectPass: 60_000 } });
  await cara(sandbox, "POST /api/v1/projects", projectDocument("shop"));
  await readyNode(sandbox, "n1");
  await reaches(sandbox, "shop", "Scheduled");
  await cara(sandbox, "POST /api/v1/projects", projectDocument("other"));
  await reaches(sandbox, "other", "Scheduled");
});

test("a project waits, and says so, while no node takes it", async () => {
  await using sandbox = await caraSandbox();
  await readyNode(sandbox, "n1");
  await beat(sandbox, "n1", { state: "Draining" });
  await readyNode(sandbox, "n2");
  sandbox.setUnschedulable("n2", true);
  await cara(sandbox, "POST /api/v1/projects", projectDocument("shop"));
  await until(() => sandbox.project("shop").status.conditions?.[0]?.reason === "NoReadyNode");
  expect(sandbox.project("shop").status).toMatchObject({ phase: "Pending", nodeRef: "" });
  sandbox.setUnschedulable("n2", false);
  expect((await reaches(sandbox, "shop", "Scheduled")).status.nodeRef).toBe("n2");
});

test("a Draining node keeps what it runs", async () => {
  await using sandbox = await caraSandbox({ timings: { rescheduleGrace: 1 } });
  await runningProject(sandbox, "shop");
  await beat(sandbox, "n1", { state: "Draining" });
  await readyNode(sandbox, "n2");
  await twoPasses(sandbox);
  expect(sandbox.project("shop").status).toMatchObject({ phase: "Running", nodeRef: "n1" });
});

test("a Scheduled project leaves a lost node at once", async () => {
  await using sandbox = await caraSandbox({ timings: { rescheduleGrace: 60_000 } });
  await readyNode(sandbox, "n1");
  await cara(sandbox, "POST /api/v1/projects", projectDocument("shop"));
  await reaches(sandbox, "shop", "Scheduled");
  await readyNode(sandbox, "n2");
  await beat(sandbox, "n1", { state: "NotReady" });
  await until(() => sandbox.project("shop").status.nodeRef === "n2");
});

test("a Running project stays for the grace and moves then; the old node is not informed", async () => {
  await using sandbox = await caraSandbox({ timings: { rescheduleGrace: 60_000 } });
  await runningProject(sandbox, "shop");
  await readyNode(sandbox, "n2");
  await beat(sandbox, "n1", { state: "NotReady" });
  await twoPasses(sandbox);
  expect(sandbox.project("shop").status).toMatchObject({ phase: "Running", nodeRef: "n1" });
  sandbox.setTimings({ rescheduleGrace: 50 });
  await until(() => sandbox.project("shop").status.nodeRef === "n2");
  expect(sandbox.project("shop").status.phase).toBe("Scheduled");
  const { body } = await cara(sandbox, "GET /api/v1/projects?nodeRef=n1");
  expect(body["items"]).toEqual([]);
});

test("a node that is back within the grace keeps its Running project, and the next loss begins a grace of its own", async () => {
  using clock = stopClock();
  const timings = { rescheduleGrace: seconds(60), nodeSilence: hours(1), projectPass: seconds(1) };
  await using sandbox = await caraSandbox({ timings });
  await runningProject(sandbox, "shop");
  await readyNode(sandbox, "n2");
  await beat(sandbox, "n1", { state: "NotReady" });
  await clock.pass(seconds(50));
  await beat(sandbox, "n1");
  await clock.pass(seconds(20));
  await beat(sandbox, "n1", { state: "NotReady" });
  await clock.pass(seconds(50));
  expect(sandbox.project("shop").status).toMatchObject({ phase: "Running", nodeRef: "n1" });
  await clock.pass(seconds(12));
  expect(sandbox.project("shop").status.nodeRef).toBe("n2");
});

test("the silence of a node moves its projects", async () => {
  await using sandbox = await caraSandbox({ timings: { nodeSilence: 100, rescheduleGrace: 1 } });
  await runningProject(sandbox, "shop");
  await until(() => sandbox.project("shop").status.phase === "Pending");
  expect(sandbox.caraNode("n1").status.state).toBe("NotReady");
  expect(sandbox.project("shop").status.nodeRef).toBe("");
});

test("projects of a deleted node move like those of a silent one", async () => {
  await using sandbox = await caraSandbox({ timings: { rescheduleGrace: 30 } });
  await runningProject(sandbox, "shop");
  await readyNode(sandbox, "n2");
  sandbox.deleteCaraNode("n1");
  await until(() => sandbox.project("shop").status.nodeRef === "n2");
});

test("a Terminating project stays with its lost node", async () => {
  await using sandbox = await caraSandbox({ timings: { rescheduleGrace: 1 } });
  await runningProject(sandbox, "shop");
  await readyNode(sandbox, "n2");
  sandbox.deleteProject("shop");
  await beat(sandbox, "n1", { state: "NotReady" });
  await twoPasses(sandbox);
  expect(sandbox.project("shop").status).toMatchObject({ phase: "Terminating", nodeRef: "n1" });
});

test("nodes, projects and reports outlive a restart with a data directory", async () => {
  const data = mkdtempSync(join(tmpdir(), "sandbox-test-"));
  try {
    const before = await caraSandbox({ data });
    await runningProject(before, "shop");
    await before.stop();
    await using after = await caraSandbox({ data });
    expect(after.project("shop").status).toMatchObject({ phase: "Running", nodeRef: "n1" });
    expect(after.caraNode("n1").status.state).toBe("Ready");
    expect(after.projectReports("shop")).toHaveLength(1);
  } finally {
    rmSync(data, { recursive: true });
  }
});
