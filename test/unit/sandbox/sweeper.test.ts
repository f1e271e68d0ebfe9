// What the control plane does by itself with shortened clocks: requeue, fail, put offline.
import { expect, test } from "bun:test";
import { minutes, seconds } from "../../../src/lib/duration.ts";
import { stopClock } from "../../support/fake-time.ts";
import { enrolled, sandboxWith, taskIn, until } from "./harness.ts";

const quick = { sweepInterval: 5, offlineCheck: 5 };

test("a lease that ends puts the task back into the queue", async () => {
  await using sandbox = await sandboxWith({ timings: { ...quick, claimLease: 20 } });
  const node = await enrolled(sandbox);
  const id = await taskIn("accepted", sandbox, node);
  await until(() => sandbox.task(id).status === "queued");
  expect(sandbox.task(id).lease_until).toBeNull();
});

test("a queued task that is too old is failed, with a result that says why", async () => {
  await using sandbox = await sandboxWith({ timings: { ...quick, queuedLimit: 10 } });
  const node = await enrolled(sandbox);
  const id = await taskIn("queued", sandbox, node);
  await until(() => sandbox.task(id).status === "failed");
  expect(sandbox.task(id)).toMatchObject({
    result: { reason: "stale-timeout", previousStatus: "queued" },
    output: "Task timed out in queue before being started by an agent.",
  });
});

test("a task requeued after a lost claim can be failed in the same sweep: age counts from creation", async () => {
  using clock = stopClock();
  await using sandbox = await sandboxWith({ timings: { ...quick, claimLease: 20, queuedLimit: 10 } });
  const node = await enrolled(sandbox);
  sandbox.setTimings({ sweepInterval: 100_000 });
  const id = await clock.during(taskIn("accepted", sandbox, node));
  await clock.pass(seconds(1));
  sandbox.setTimings({ sweepInterval: 1 });
  await clock.pass(seconds(1));
  expect(sandbox.task(id).status).toBe("failed");
});

test("a running task that is too old is failed whatever it logs; completing it as failed is then a no-op", async () => {
  await using sandbox = await sandboxWith({
    timings: { ...quick, sweepInterval: minutes(1), runningLimit: 30 },
  });
  const node = await enrolled(sandbox);
  const id = await taskIn("running", sandbox, node);
  await node.call(id, "logs", { stream: "stdout", line: "still here" });
  sandbox.setTimings(quick);
  await until(() => sandbox.task(id).status === "failed");
  expect(sandbox.task(id)).toMatchObject({
    result: { reason: "stale-timeout", previousStatus: "running" },
    output: "still here",
  });
  expect((await node.call(id, "control")).body).toMatchObject({ status: "failed", cancelRequested: false });
  expect((await node.call(id, "completed", { status: "failed", output: "mine" })).status).toBe(200);
  expect(sandbox.task(id).output).toBe("still here");
});

test("in maintenance neither leases nor queued tasks are touched", async () => {
  await using sandbox = await sandboxWith({
    timings: { ...quick, sweepInterval: minutes(1), claimLease: 0, queuedLimit: 30 },
  });
  const [busy, witness] = [await enrolled(sandbox), await enrolled(sandbox, "witness")];
  const accepted = await taskIn("accepted", sandbox, busy);
  sandbox.setMaintenance(busy.id, true);
  sandbox.setTimings(quick);
  const sign = await taskIn("queued", sandbox, witness);
  await until(() => sandbox.task(sign).status === "failed");
  expect(sandbox.task(accepted).status).toBe("accepted");
  sandbox.setMaintenance(busy.id, false);
  await until(() => sandbox.task(accepted).status === "failed");
});

test("a silent node goes offline, a heartbeat brings it back; both are events", async () => {
  await using sandbox = await sandboxWith({ timings: { ...quick, heartbeatTimeout: 20 } });
  const node = await enrolled(sandbox);
  const beat = () => node.post("/agent/heartbeat", { nodeId: node.id, agentToken: node.token });
  await beat();
  await until(() => sandbox.node(node.id).status === "offline");
  await beat();
  expect(sandbox.events().map(({ type }) => type)).toEqual(["node.online", "node.offline", "node.online"]);
});
