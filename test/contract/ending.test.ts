// How tasks are ended: cancelled, out of time, or given up by the server; with everything they started.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { enrolledAgent, TEST_LIMIT } from "../support/agent.ts";
import { runsPath } from "../../src/agent/agent.ts";
import { namesIn } from "../support/scribble.ts";
import { isAlive } from "../support/processes.ts";
import { elapse, until } from "../support/until.ts";

setDefaultTimeout(TEST_LIMIT);

const isGone = (pid: string): Promise<void> => until(`process ${pid} is gone`, () => !isAlive(pid));

describe.concurrent("cancelled by an operator", () => {
  test("a command gets SIGTERM and may clean up; the reason is kept", async () => {
    await using node = await enrolledAgent({ settings: { task_kill_grace: "10s" } });
    const task = node.runs("trap 'echo cleaning up; exit 9' TERM; echo ready; while :; do sleep 0.05; done");
    await task.shows("ready");
    task.cancels("not needed");
    const { result, output } = await task.finishes("cancelled");
    expect(result).toMatchObject({ error: "not needed", exitCode: 9 });
    expect(output).toContain("cleaning up");
    expect(task.text("stdout")).toContain("cleaning up");
  });

  test("one that ignores SIGTERM is killed after the grace", async () => {
    await using node = await enrolledAgent();
    const task = node.runs(`trap '' TERM; echo $$ > ${node.file("pid").path}; while :; do sleep 0.05; done`);
    const pid = await node.file("pid").appears();
    task.cancels();
    const { result } = await task.finishes("cancelled");
    expect(result).toMatchObject({ exitCode: 137 });
    await isGone(pid);
  });

  test("its children end with it, also those in a session of their own", async () => {
    await using node = await enrolledAgent();
    const { path: child } = node.file("child");
    const { path: away } = node.file("away");
    const task = node.runs(
      `sleep 300 & echo $! > ${child}; setsid sh -c 'echo $$ > ${away}; exec sleep 300' & wait`,
    );
    const pids = [await node.file("child").appears(), await node.file("away").appears()];
    task.cancels();
    await task.finishes("cancelled");
    await Promise.all(pids.map(isGone));
  });

  test("while it waits for a slot it never runs", async () => {
    await using node = await enrolledAgent({ settings: { max_parallel_tasks: 1 } });
    const first = node.runs("sleep 300");
    await first.isRunning();
    const second = node.runs(`touch ${node.file("ran").path}`);
    await second.shows("waiting for a free slot");
    second.cancels("too late");
    expect((await second.finishes("cancelled")).result).toMatchObject({ error: "too late" });
    first.cancels();
    await first.finishes("cancelled");
    expect(node.file("ran").text()).toBeUndefined();
  });

  test("when it ended by itself in the meantime, that end stands", async () => {
    await using node = await enrolledAgent({ watched: true });
    node.gateway.interfere(async (route, forward) => {
      if (route === "completed")
        for (const { id, status } of node.sandbox.tasks()) if (status === "running") node.sandbox.cancel(id);
      return forward();
    });
    await node.runs("echo done").finishes("success");
  });
});

describe.concurrent("out of time", () => {
  test("a command gets SIGTERM, then SIGKILL; its last lines are kept", async () => {
    await using node = await enrolledAgent();
    const task = node.runs("trap 'echo last words' TERM; while :; do sleep 0.05; done", { timeout: "700ms" });
    const { status, result } = await task.finishes("failed");
    expect({ status, reason: result?.["reason"], exitCode: result?.["exitCode"] }).toEqual({
      status: "failed",
      reason: "timeout",
      exitCode: 137,
    });
    expect(task.text("stdout")).toContain("last words");
  });

  test("task_timeout applies where a task brings no limit of its own", async () => {
    await using node = await enrolledAgent({ settings: { task_timeout: "500ms" } });
    const { result } = await node.runs("sleep 60").finishes("failed");
    expect(result).toMatchObject({ reason: "timeout" });
  });
});

describe.concurrent("without its supervisor, which was killed from outside", () => {
  test("a command is ended, all of it, before the task is reported failed", async () => {
    await using node = await enrolledAgent({ settings: { task_kill_grace: "300ms" } });
    const { path } = node.file("pids");
    const task = node.runs(
      `trap '' TERM; setsid sleep 300 & echo $! >${path}.new; echo $$ >>${path}.new; mv ${path}.new ${path}; echo ready; while :; do sleep 0.05; done`,
    );
    const pids = (await node.file("pids").appears()).split("\n");
    await task.shows("ready");
    process.kill(Number.parseInt(await Bun.file(`${task.directory}/session`).text(), 10), "SIGKILL");
    const { result } = await task.finishes("failed");
    expect(pids.filter(isAlive)).toEqual([]);
    expect(String(result?.["error"])).toStartWith("the command's supervisor was killed from outside");
  });
});

describe.concurrent("given up by the server", () => {
  test("a stale task's process is ended, and nothing is sent any more", async () => {
    await using node = await enrolledAgent({
      watched: true,
      sandbox: { timings: { runningLimit: 800, sweepInterval: 100 } },
    });
    const task = node.runs(
      `echo $$ > ${node.file("pid").path}; i=0; while :; do echo $((i=i+1)); sleep 0.02; done`,
    );
    const pid = await node.file("pid").appears();
    const { result } = await task.finishes("failed");
    expect(result).toMatchObject({ reason: "stale-timeout" });
    await isGone(pid);
    await node.statusBecomes("nothing held", ({ noderax }) => noderax?.tasks.length === 0);
    expect(node.gateway.count("completed")).toBe(0);
    // One row may have been on its way when the server gave the task up.
    const refused = node.gateway.seen.filter(({ route, status }) => route === "logs" && status === 409);
    expect(refused.length).toBeLessThanOrEqual(1);
  });

  test("much output that is left is not sent to a task that is over", async () => {
    await using node = await enrolledAgent({
      watched: true,
      sandbox: { timings: { runningLimit: 1_500, sweepInterval: 100 } },
    });
    // The command is over at once, its rows are slow.
    node.gateway.interfere(async (route, forward) => {
      if (route === "logs") await elapse(300);
      return forward();
    });
    const task = node.runs("seq 1 40000");
    await task.finishes("failed");
    await node.statusBecomes("nothing held", ({ noderax }) => noderax?.tasks.length === 0);
    const refused = node.gateway.seen.filter(({ route, status }) => route === "logs" && status === 409);
    expect(refused.length).toBeLessThanOrEqual(1);
    expect(node.gateway.count("completed")).toBe(0);
  });

  test("a deleted node's command is ended, and the agent stays", async () => {
    await using node = await enrolledAgent();
    const task = node.runs(`echo $$ > ${node.file("pid").path}; sleep 300`);
    await node.file("pid").appears();
    expect(task.document().status).toBe("running");
    node.sandbox.deleteNode("node-1");
    await node.statusBecomes("deleted", ({ noderax }) => noderax?.standing === "deleted");
  });
});

describe.concurrent("an agent that will not come back", () => {
  test("takes no task any more, also none that a claim in flight brings", async () => {
    await using node = await enrolledAgent({ watched: true });
    let ended: Promise<void> | undefined;
    node.gateway.interfere(async (route, forward) => {
      const answer = await forward();
      // The server has handed it out, the agent does not know yet.
      if (route === "claim" && node.sandbox.tasks().length > 0) ended ??= node.agent.endTasks();
      return answer;
    });
    const task = node.runs(`touch ${node.file("ran").path}`);
    await task.becomes("accepted", ({ status }) => status === "accepted");
    await until("the tasks are being ended", () => ended !== undefined);
    await ended;
    // The end of the loops: what the claim brought has been handled.
    await node.stops();
    expect(namesIn(runsPath(node.stateDirectory))).toEqual([]);
    expect(node.file("ran").text()).toBeUndefined();
    expect(task.document().status).toBe("accepted");
  });

  test("ends its tasks and reports nothing, also when the server cannot be reached", async () => {
    await using node = await enrolledAgent();
    const running = node.runs(`echo $$ > ${node.file("pid").path}; echo some output; sleep 300`);
    const pid = await node.file("pid").appears();
    await running.shows("some output");
    node.sandbox.setFaults({ errorRate: 1, routes: ["logs", "completed", "started", "control"] });
    const waiting = node.runs("true");
    await waiting.becomes("accepted", ({ status }) => status === "accepted");
    await node.agent.endTasks();
    await isGone(pid);
    expect(node.agent.status().noderax?.tasks).toEqual([]);
  });
});
