// max_parallel_tasks: a bound on what runs, not on what is claimed.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { seconds } from "../../src/lib/duration.ts";
import { enrolledAgent, enrolledProcess, TEST_LIMIT } from "../support/agent.ts";

setDefaultTimeout(TEST_LIMIT);

describe.concurrent("max_parallel_tasks", () => {
  test("with two slots six tasks all finish, never more than two at a time, and those that wait say so", async () => {
    await using node = await enrolledAgent({ settings: { max_parallel_tasks: 2 } });
    const [{ path }, go] = [node.file("trace"), node.file("go")];
    const tasks = Array.from({ length: 6 }, () =>
      node.runs(
        `echo + >> ${path}; until [ -e ${go.path} ]; do sleep 0.05; done; sleep 0.4; echo - >> ${path}`,
      ),
    );
    // Claiming goes on while they wait: all are running for the server before one is done.
    for (const task of tasks) await task.isRunning();
    writeFileSync(go.path, "");
    for (const task of tasks) await task.finishes("success");
    let [now, most] = [0, 0];
    for (const line of node.file("trace").lines()) {
      now += line === "+" ? 1 : -1;
      most = Math.max(most, now);
    }
    expect({ most, now }).toEqual({ most: 2, now: 0 });
    const waited = tasks.filter((task) =>
      task.text("info").includes("waiting for a free slot: 2 tasks run already"),
    );
    expect(waited.length).toBeGreaterThanOrEqual(3);
  });

  test("a task that waits says so once, however often the agent is restarted meanwhile", async () => {
    await using node = await enrolledProcess({ settings: { max_parallel_tasks: 1 } });
    const first = node.runs(
      `touch ${node.file("begun").path}; while [ ! -e ${node.file("go").path} ]; do sleep 0.05; done`,
    );
    await first.isRunning();
    const second = node.runs("echo second");
    await second.shows("waiting for a free slot");
    for (let round = 0; round < 2; round++) {
      await node.dies();
      await node.starts();
      await node.statusBecomes("both are held", ({ noderax }) => noderax?.tasks.length === 2);
    }
    await Bun.write(node.file("go").path, "");
    await second.finishes("success");
    const text = "waiting for a free slot: 1 tasks run already (max_parallel_tasks)";
    expect(second.rows().map(({ line }) => line)).toEqual([text, "second"]);
  });

  test("tasks of a megabyte are not claimed beyond sixteen megabytes, and all of them run in the end", async () => {
    await using node = await enrolledAgent({ settings: { max_parallel_tasks: 1 } });
    const go = node.file("go").path;
    const blocking = node.runs(`while [ ! -e ${go} ]; do sleep 0.05; done`);
    await blocking.isRunning();
    const padding = "x".repeat(1_000_000);
    const tasks = Array.from({ length: 24 }, () => node.runs("true", { padding }));
    const { noderax } = await node.statusBecomes("it claims no more", ({ loops }) =>
      loops.some(({ name, note }) => name === "claim" && note === "holding as many tasks as it can"),
    );
    expect(noderax?.tasks.length).toBeLessThanOrEqual(17);
    expect(tasks.filter((task) => task.document().status === "queued").length).toBeGreaterThan(6);
    await Bun.write(go, "");
    for (const task of tasks) await task.finishes("success", seconds(40));
  }, 60_000);
});
