// Claiming: order, leases, the long poll, and the two weaknesses an agent must live with.
import { expect, test } from "bun:test";
import { enrolled, sandboxWith, taskIn, until, waitingClaim } from "./harness.ts";

const shell = (node: { id: string }) => ({ node: node.id, payload: { command: "true" } });
const taskId = ({ body }: { body: Record<string, unknown> }): unknown => {
  const task = body["task"];
  return typeof task === "object" && task !== null && "id" in task ? task.id : task;
};

test("nothing to do is 200 with a null task and the desired root access", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  expect(await node.claim()).toMatchObject({
    status: 200,
    body: { task: null, outputTruncated: false, rootAccess: { profile: "off", updatedAt: null } },
  });
});

test("tasks come oldest first, with a lease, and without those that were cancelled", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const [first, second, third] = [1, 2, 3].map(() => sandbox.createTask(shell(node)));
  sandbox.cancel(first?.id ?? "");
  const claimed = await node.claim();
  expect(claimed.body["task"]).toMatchObject({ id: second?.id, status: "accepted", claimedBy: node.id });
  const lease = sandbox.task(second?.id ?? "").lease_until ?? "";
  expect(Date.parse(lease) - Date.now()).toBeWithin(55_000, 60_001);
  expect(taskId(await node.claim())).toBe(third?.id);
});

test("a waiting claim gets a task that is created meanwhile", async () => {
  await using sandbox = await sandboxWith({ timings: { claimStep: 5 } });
  const node = await enrolled(sandbox);
  const waiting = await waitingClaim(sandbox, node);
  const { id } = sandbox.createTask(shell(node));
  expect(taskId(await waiting.answer)).toBe(id);
});

test("an abandoned claim polls on and swallows the next task", async () => {
  await using sandbox = await sandboxWith({ timings: { claimStep: 5 } });
  const node = await enrolled(sandbox);
  const hangUp = new AbortController();
  const abandoned = await waitingClaim(sandbox, node, { signal: hangUp.signal });
  hangUp.abort();
  expect(await abandoned.answer.catch(() => "broken off")).toBe("broken off");
  const { id } = sandbox.createTask(shell(node));
  await until(() => sandbox.task(id).status === "accepted");
  expect(taskId(await node.claim())).toBeNull();
});

test("an expired lease can be claimed again at once", async () => {
  await using sandbox = await sandboxWith({ timings: { claimLease: 0 } });
  const node = await enrolled(sandbox);
  const id = await taskIn("accepted", sandbox, node);
  expect(taskId(await node.claim())).toBe(id);
});

test("parallel claims of one node may get the same task", async () => {
  await using sandbox = await sandboxWith({ timings: { claimRaceWindow: 50 } });
  const node = await enrolled(sandbox);
  const { id } = sandbox.createTask(shell(node));
  const answers = await Promise.all([1, 2, 3].map(() => node.claim()));
  expect(answers.filter((answer) => taskId(answer) === id).length).toBeGreaterThan(1);
});

test("a claim is no sign of life", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  await node.claim();
  expect(sandbox.node(node.id)).toMatchObject({ status: "offline", last_seen_at: null });
});

test("a node in maintenance gets nothing, and no new work can be made for it", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const { id } = sandbox.createTask(shell(node));
  sandbox.setMaintenance(node.id, true);
  expect(taskId(await node.claim())).toBeNull();
  expect(() => sandbox.createTask(shell(node))).toThrow(
    "Node demo-1 is in maintenance mode and cannot accept new work.",
  );
  sandbox.setMaintenance(node.id, false);
  expect(taskId(await node.claim())).toBe(id);
});

test("root access: the desired profile goes down, the applied one comes up", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  sandbox.setRootAccess("demo-1", "task");
  expect((await node.claim()).body["rootAccess"]).toMatchObject({
    profile: "task",
    updatedAt: expect.any(String),
  });
  expect(sandbox.node("demo-1").root_access.status).toBe("pending");

  const report = (rootAccess: unknown) => node.claim({ waitMs: 0, rootAccess });
  await report({ appliedProfile: "task", lastAppliedAt: "2026-05-01T10:00:00Z" });
  expect(sandbox.node("demo-1").root_access).toMatchObject({ status: "applied", applied_profile: "task" });
  await report({ lastError: "visudo said no" });
  expect(sandbox.node("demo-1").root_access).toMatchObject({ status: "failed", applied_profile: "task" });
  await report({ lastError: null });
  expect(sandbox.node("demo-1").root_access.status).toBe("applied");
});

test("root tasks are refused until the profile is applied, unless the check is skipped", async () => {
  await using sandbox = await sandboxWith();
  const node = await enrolled(sandbox);
  const wanted = { node: node.id, payload: { command: "id", runAsRoot: true, rootScope: "task" } };
  expect(() => sandbox.createTask(wanted)).toThrow(
    "Node demo-1 does not currently allow task root access. Applied profile is off.",
  );
  expect(sandbox.createTask({ ...wanted, unchecked: true }).status).toBe("queued");
  await node.claim({ waitMs: 0, rootAccess: { appliedProfile: "all" } });
  expect(sandbox.createTask(wanted).status).toBe("queued");
  const operational = {
    node: node.id,
    payload: { command: "rm -rf /", runAsRoot: true, rootScope: "operational" },
  };
  expect(() => sandbox.createTask(operational)).toThrow(/^Operational root access is limited to reboot/);
});
