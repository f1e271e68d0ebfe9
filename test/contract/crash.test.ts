// The agent is killed at any moment of a task's life: the command ran once, its log is whole, its completion is one.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { statSync } from "node:fs";
import { seconds } from "../../src/lib/duration.ts";
import { isFinal } from "../../src/protocol/noderax/tasks.ts";
import { type ProcessNode, TEST_LIMIT, enrolledAgent, enrolledProcess } from "../support/agent.ts";
import { type TaskHandle } from "../support/task.ts";
import { isAlive } from "../support/processes.ts";
import { elapse, until } from "../support/until.ts";

setDefaultTimeout(TEST_LIMIT);

/** A lease that a test can wait for, when a claim of a killed agent has swallowed a task. */
const SHORT_LEASE = { timings: { claimLease: 1_500, sweepInterval: 200 } };
const COUNT = 6;

const command = (marker: string): string =>
  `echo x >> ${marker}; i=0; while [ $i -lt ${COUNT} ]; do echo $((i=i+1)); sleep 0.08; done; exit 5`;

function survived(task: TaskHandle, marker: string[]): void {
  expect(marker).toEqual(["x"]);
  expect(task.text()).toBe(Array.from({ length: COUNT }, (_, i) => String(i + 1)).join("\n"));
  expect(task.document()).toMatchObject({ status: "failed", result: { exitCode: 5 } });
}

/** Runs tasks until the time is up, killing the agent once in each of them, after a random while. */
async function killedAtRandom(node: ProcessNode, seed: number, until: number): Promise<number> {
  let rounds = 0;
  for (let state = seed; performance.now() < until; rounds++) {
    const marker = node.file(`ran-${rounds}`);
    const task = node.runs(command(marker.path));
    state = (state * 48_271) % 2_147_483_647;
    const pause = state % 900;
    await elapse(pause);
    await node.dies();
    await node.starts();
    try {
      await task.finishes("failed");
      survived(task, marker.lines());
    } catch (error) {
      throw new Error(`killed after ${pause} ms, seed ${seed}, round ${rounds}\n${task.story()}`, {
        cause: error,
      });
    }
  }
  return rounds;
}

describe.concurrent("killed at a random moment", () => {
  const seed = Math.trunc(Math.random() * 1e6) + 1;
  test.each([seed, seed + 1, seed + 2])("seed %d", async (each) => {
    await using node = await enrolledProcess({
      sandbox: SHORT_LEASE,
      settings: { task_poll_interval: "500ms" },
    });
    const rounds = await killedAtRandom(node, each, performance.now() + seconds(8));
    expect(rounds).toBeGreaterThan(0);
  });
});

describe.concurrent("killed", () => {
  test("between claim and start, it starts the task afterwards", async () => {
    await using node = await enrolledProcess({ sandbox: { faults: { errorRate: 1, routes: ["started"] } } });
    const marker = node.file("ran");
    const task = node.runs(command(marker.path));
    await node.statusBecomes("it is held", ({ noderax }) => noderax?.tasks.length === 1);
    expect(task.document().status).toBe("accepted");
    await node.dies();
    node.sandbox.setFaults({ errorRate: 0 });
    await node.starts();
    await task.finishes("failed");
    survived(task, marker.lines());
  });

  test("after the command has ended and before that was reported, it reports it", async () => {
    await using node = await enrolledProcess();
    const marker = node.file("ran");
    const task = node.runs(command(marker.path));
    await task.shows("1");
    node.sandbox.setFaults({ errorRate: 1, routes: ["logs", "completed"] });
    await until("the command has ended", () => task.hasExited());
    await node.dies();
    node.sandbox.setFaults({ errorRate: 0 });
    await node.starts();
    await task.finishes("failed");
    survived(task, marker.lines());
  });

  test("while nobody is there the command ends, and the next agent reports what it wrote", async () => {
    await using node = await enrolledProcess();
    const marker = node.file("ran");
    const task = node.runs(command(marker.path));
    await task.shows("1");
    await node.dies();
    await until("the command has ended", () => task.hasExited());
    const ended = statSync(`${task.directory}/exit`).mtimeMs;
    await elapse(seconds(1)); // The length of the outage, which must not count.
    await node.starts();
    const { result, finished_at } = await task.finishes("failed");
    survived(task, marker.lines());
    expect(result?.["durationMs"]).toBeLessThan(ended - Date.parse(task.document().started_at ?? "") + 50);
    expect(Math.abs(Date.parse(finished_at ?? "") - ended)).toBeLessThan(500);
  });

  test("in the middle of a cancel, it goes on with it", async () => {
    await using node = await enrolledProcess({ settings: { task_kill_grace: "3s" } });
    const task = node.runs(
      "trap 'echo cleaning; sleep 1; exit 6' TERM; echo ready; while :; do sleep 0.05; done",
    );
    await task.shows("ready");
    task.cancels("enough");
    await until("it cleans up", () => task.kept("stdout").includes("cleaning"));
    await node.dies();
    await node.starts();
    expect((await task.finishes("cancelled")).result).toMatchObject({ exitCode: 6, error: "enough" });
  });

  test("while a time limit passes, the next agent ends the command", async () => {
    await using node = await enrolledProcess();
    const task = node.runs(`echo $$ > ${node.file("pid").path}; sleep 300`, { timeout: "4s" });
    const pid = await node.file("pid").appears();
    await node.dies();
    await elapse(4_100);
    expect(isAlive(pid)).toBe(true);
    await node.starts();
    expect((await task.finishes("failed")).result).toMatchObject({ reason: "timeout" });
    await until("it is gone", () => !isAlive(pid));
  });

  test("before its wrapper began, the command is run all the same, once", async () => {
    await using node = await enrolledAgent({
      sandbox: { faults: { errorRate: 1, routes: ["logs", "completed"] } },
    });
    const marker = node.file("ran");
    const task = node.runs(command(marker.path));
    await until("the command has ended", () => task.hasExited());
    await node.stops(0);
    // As if the process had died between the entry in the journal and the start of the wrapper.
    node.edits((database) => {
      database.run("DELETE FROM outbox");
      const nothing = { rows: 0, lastRowAt: 0, offset: { stdout: 0, stderr: 0 }, lastRow: "" };
      database.run("UPDATE tasks SET phase = 'launched', outcome = NULL, shipped = ?", [
        JSON.stringify(nothing),
      ]);
    });
    await Bun.$`rm -rf ${task.directory} ${marker.path}`.quiet();
    node.sandbox.setFaults({ errorRate: 0 });
    await node.starts();
    await task.finishes("failed");
    survived(task, marker.lines());
  });
});

describe.concurrent("after a reboot of the machine", () => {
  const rebooted = "UPDATE tasks SET launch = json_set(launch, '$.bootId', 'the boot before')";

  test("a task that ran is failed, with the output so far", async () => {
    await using node = await enrolledProcess();
    const task = node.runs(`echo $$ > ${node.file("pid").path}; echo so far; sleep 300`);
    const pid = await node.file("pid").appears();
    await task.shows("so far");
    await node.dies();
    process.kill(Number(pid), "SIGKILL");
    await until("the wrapper has noticed", () => task.hasExited());
    // The power went before the wrapper could write that down.
    await Bun.$`rm ${task.directory}/exit`.quiet();
    node.edits((database) => database.run(rebooted));
    await node.starts();
    const { result, output } = await task.finishes("failed");
    expect(result).toMatchObject({ error: "interrupted by reboot" });
    expect(output).toBe("so far\n");
    expect(task.text()).toBe("so far");
  });

  test("strangers who have got the old process ids are left alone, and not taken for our own", async () => {
    await using node = await enrolledProcess();
    const task = node.runs(`echo $$ > ${node.file("pid").path}; echo so far; sleep 300`);
    const stranger = await node.file("pid").appears();
    await task.shows("so far");
    await node.dies();
    node.edits((database) => {
      database.run(rebooted);
      database.run("UPDATE tasks SET stop = ?", [
        JSON.stringify({ reason: "cancel", text: "enough", at: Date.now() }),
      ]);
    });
    await node.starts();
    await task.becomes("final", ({ status }) => isFinal(status));
    expect(isAlive(stranger)).toBe(true);
    expect(task.text()).toBe("so far");
  });
});
