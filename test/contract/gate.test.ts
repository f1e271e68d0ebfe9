// `started` is the gate: without its 200 nothing is run, and with it the command is run once.
import { readFileSync } from "node:fs";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import * as v from "valibot";
import { seconds } from "../../src/lib/duration.ts";
import { type AgentNode, enrolledAgent, TEST_LIMIT } from "../support/agent.ts";
import { type TaskHandle } from "../support/task.ts";
import { elapse, until } from "../support/until.ts";
import { refusal } from "../support/sandbox.ts";

setDefaultTimeout(TEST_LIMIT);

const Credentials = v.object({ node_id: v.string(), agent_token: v.string() });

const gaveUp = (node: AgentNode, task: TaskHandle): Promise<void> =>
  until(
    "the agent says that it does not run it",
    () => node.log.some((line) => line.includes(`${task.id.slice(0, 8)} not run`)),
    undefined,
    () => node.story(),
  );

describe.concurrent("without a 200 of started nothing is run:", () => {
  test("cancelled between claim and start", async () => {
    await using node = await enrolledAgent({ watched: true });
    node.gateway.interfere((route, forward) => {
      const [open] = node.sandbox.tasks();
      if (route === "started" && open?.status === "accepted") node.sandbox.cancel(open.id, "changed my mind");
      return forward();
    });
    const task = node.runs(`touch ${node.file("ran").path}`);
    await gaveUp(node, task);
    expect(task.document().status).toBe("cancelled");
    expect(node.gateway.count("completed")).toBe(0);
    expect(node.file("ran").text()).toBeUndefined();
    expect((await node.runs("echo next").finishes("success")).output).toBe("next\n");
  });

  test("its lease ran out before the server was reached", async () => {
    await using node = await enrolledAgent({
      sandbox: { timings: { claimLease: 300, sweepInterval: 100 } },
      watched: true,
      started: false,
    });
    let claimed = false;
    const task = node.runs(`touch ${node.file("ran").path}`);
    node.gateway.interfere(async (route, forward) => {
      if (route === "started") await task.becomes("queued again", ({ status }) => status === "queued");
      if (route !== "claim") return forward();
      // A second claim would renew the lease.
      if (claimed) return Response.json({ task: null });
      const answer = await forward();
      const text = await answer.text();
      claimed = !text.includes('"task":null');
      return new Response(text, { status: answer.status });
    });
    await node.starts();
    await gaveUp(node, task);
    expect(task.document().status).toBe("queued");
    expect(node.file("ran").text()).toBeUndefined();
  });

  test("the server does not know the task any more", async () => {
    await using node = await enrolledAgent({ watched: true });
    node.gateway.interfere((route, forward) =>
      route === "started" ? refusal(404, "Task was not found for node") : forward(),
    );
    const task = node.runs(`touch ${node.file("ran").path}`);
    await gaveUp(node, task);
    expect(node.file("ran").text()).toBeUndefined();
  });

  test("a copy of this machine, with its identity, was handed the same task and started it first", async () => {
    await using node = await enrolledAgent({ watched: true });
    const copy = v.parse(Credentials, JSON.parse(readFileSync(node.stateFile, "utf8")));
    const headers = { authorization: `Bearer ${copy.agent_token}`, "x-agent-node-id": copy.node_id };
    node.gateway.interfere(async (route, forward) => {
      if (route === "started") {
        const [task] = node.sandbox.tasks();
        await fetch(`${node.sandbox.url}/api/v1/agent/tasks/${task?.id}/started`, {
          method: "POST",
          headers: { ...headers, "content-type": "application/json" },
          body: JSON.stringify({ timestamp: new Date().toISOString() }),
        });
      }
      return forward();
    });
    const task = node.runs(`touch ${node.file("ran").path}`);
    await gaveUp(node, task);
    expect(node.story()).toContain("another agent that uses this node's identity has started it");
    expect(task.document().status).toBe("running");
    expect(node.gateway.count("completed")).toBe(0);
    expect(node.file("ran").text()).toBeUndefined();
  });

  test("the server is away, and cancels the task before it is back", async () => {
    await using node = await enrolledAgent({ watched: true });
    let away = false;
    node.gateway.interfere((route, forward) => {
      if (route === "started") away = true;
      return away ? Promise.reject(new Error("away")) : forward();
    });
    const task = node.runs(`touch ${node.file("ran").path}`);
    await until("started was tried three times", () => node.gateway.count("started") > 2);
    task.cancels();
    node.gateway.interfere(undefined);
    await gaveUp(node, task);
    expect(node.file("ran").text()).toBeUndefined();
  });

  test("a task that the server cancelled is let go at once, also while started only fails", async () => {
    await using node = await enrolledAgent({ sandbox: { faults: { errorRate: 1, routes: ["started"] } } });
    const task = node.runs("true");
    await task.becomes("accepted", ({ status }) => status === "accepted");
    task.cancels();
    await gaveUp(node, task);
  });
});

describe.concurrent("a command is run exactly once", () => {
  test("when started answers 500 some times before its 200", async () => {
    await using node = await enrolledAgent({ watched: true });
    node.gateway.interfere((route, forward) =>
      route === "started" && node.gateway.count("started") < 4
        ? refusal(500, "Internal server error")
        : forward(),
    );
    const task = node.runs(`echo x >> ${node.file("ran").path}`);
    await task.finishes("success");
    expect(node.file("ran").lines()).toEqual(["x"]);
    expect(node.gateway.count("started")).toBe(4);
  });

  test("when 401 means that the database was away", async () => {
    await using node = await enrolledAgent({ watched: true });
    node.gateway.interfere((route, forward) =>
      route === "started" && node.gateway.count("started") < 3
        ? refusal(401, "Invalid agent credentials")
        : forward(),
    );
    const task = node.runs(`echo x >> ${node.file("ran").path}`);
    await task.finishes("success");
    expect(node.file("ran").lines()).toEqual(["x"]);
  });

  test("when the answers of started are lost", async () => {
    await using node = await enrolledAgent({
      sandbox: { faults: { lostAnswers: 1, routes: ["started"] } },
      watched: true,
    });
    const task = node.runs(`echo x >> ${node.file("ran").path}`);
    await until("started was tried three times", () => node.gateway.count("started") >= 3);
    expect(task.document().status).toBe("running");
    expect(node.file("ran").text()).toBeUndefined();
    node.sandbox.setFaults({ lostAnswers: 0 });
    await task.finishes("success");
    expect(node.file("ran").lines()).toEqual(["x"]);
  });

  test("when the answer of started is lost and the server stays away for longer than the lease", async () => {
    await using node = await enrolledAgent({
      sandbox: { faults: { errorRate: 1, routes: ["started"] } },
      watched: true,
    });
    const task = node.runs(`echo x >> ${node.file("ran").path}`);
    await task.becomes("accepted", ({ status }) => status === "accepted");
    await node.stops(0);
    node.edits((database) => database.run("UPDATE tasks SET claimed_at = claimed_at - 50000"));
    node.sandbox.setFaults({ errorRate: 0, lostAnswers: 1 });
    await node.starts();
    await task.isRunning();
    const tried = node.gateway.count("started");
    await until("started was tried again, twice", () => node.gateway.count("started") >= tried + 2);
    node.sandbox.setFaults({ lostAnswers: 0 });
    await task.finishes("success");
    expect(node.file("ran").lines()).toEqual(["x"]);
  });

  test("when the same task is handed out a second time", async () => {
    await using node = await enrolledAgent({ watched: true });
    let claimed: string | undefined;
    node.gateway.interfere(async (route, forward) => {
      if (route !== "claim") return forward();
      const answer = await forward();
      const text = await answer.text();
      if (claimed !== undefined) return new Response(claimed);
      if (!text.includes('"task":null')) claimed = text;
      return new Response(text, { status: answer.status });
    });
    const task = node.runs(`echo x >> ${node.file("ran").path}; sleep 0.3`);
    await task.finishes("success");
    await until(
      "it was handed out again three times",
      () => node.log.filter((line) => line.includes("handed out again")).length >= 3,
    );
    expect(node.file("ran").lines()).toEqual(["x"]);
  });
});

describe.concurrent("the limit of the server", () => {
  test("a task that asks for longer than the server allows has a row that it will be ended before", async () => {
    await using node = await enrolledAgent();
    const task = node.runs("echo quick", { timeout_seconds: 3_600 });
    await task.finishes("success");
    expect(task.text("info")).toMatch(/ended after 29m \d+s: the control plane ends every task after 30m/);
  });

  test("the server's time runs from the first started it heard, also when we heard no answer", async () => {
    await using node = await enrolledAgent({ sandbox: { faults: { lostAnswers: 1, routes: ["started"] } } });
    const task = node.runs("echo quick", { timeout_seconds: 3_600 });
    await task.isRunning();
    await elapse(seconds(3));
    node.sandbox.setFaults({ lostAnswers: 0 });
    await task.finishes("success");
    const [, left] = /ended after 29m (\d+)s/.exec(task.text("info")) ?? [];
    expect(Number(left)).toBeLessThan(38);
  });
});

test("a task that cannot be put into the journal is answered with the reason, and never run", async () => {
  await using node = await enrolledAgent({ settings: { task_poll_interval: "500ms" } });
  await node.stops(0);
  node.edits((database) =>
    database.run(
      "CREATE TRIGGER full BEFORE INSERT ON tasks BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END",
    ),
  );
  await node.starts();
  await node.statusBecomes("no claim of before is open", ({ loops }) =>
    loops.some(({ note }) => note === "waiting for a task"),
  );
  const task = node.runs(`touch ${node.file("ran").path}`);
  const { result } = await task.finishes("failed");
  expect(result).toMatchObject({
    error: "the node could not write the task down: database or disk is full",
  });
  expect(node.file("ran").text()).toBeUndefined();
});
