// The server goes away, stumbles, or does not answer what it has heard: the log stays whole, the completion is one.
import { seconds } from "../../src/lib/duration.ts";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { enrolledAgent } from "../support/agent.ts";
import { type TaskHandle } from "../support/task.ts";
import { elapse, until } from "../support/until.ts";
import { refusal } from "../support/sandbox.ts";

/** An unlucky row pauses 1, 2, 4 … s between its tries, and all tests of this file share the processor. */
const PATIENCE = seconds(100);
setDefaultTimeout(seconds(120));

const numbered = (to: number): string => Array.from({ length: to }, (_, i) => String(i + 1)).join("\n");

/** Every line once, in order: nothing lost, nothing twice. */
function isWhole(task: TaskHandle, lines: number): void {
  expect(task.text("stdout")).toBe(numbered(lines));
  expect(task.text("info")).toBe("");
}

describe.concurrent("a task's log is whole and its completion is one", () => {
  test("when the server is gone for a while in the middle of it", async () => {
    await using node = await enrolledAgent({ watched: true });
    const task = node.runs("i=0; while [ $i -lt 20 ]; do echo $((i=i+1)); sleep 0.15; done");
    await task.shows("1");
    await node.plane.goesAway();
    await until(
      "rows could not be sent",
      () => (node.agent.status().noderax?.outbox.last_error ?? null) !== null,
    );
    await node.plane.comesBack();
    await task.finishes("success", PATIENCE);
    isWhole(task, 20);
  });

  test("when the server is gone at its end", async () => {
    await using node = await enrolledAgent();
    const task = node.runs(
      `echo 1; while [ ! -e ${node.file("go").path} ]; do sleep 0.05; done; echo 2; exit 3`,
    );
    await task.shows("1");
    await node.plane.goesAway();
    await Bun.write(node.file("go").path, "");
    await node.statusBecomes(
      "its end is waiting to be sent",
      ({ noderax }) => noderax?.tasks[0]?.note === "reporting" || (noderax?.outbox.waiting ?? 0) > 0,
    );
    await node.plane.comesBack();
    expect((await task.finishes("failed", PATIENCE)).result).toMatchObject({ exitCode: 3 });
    isWhole(task, 2);
  });

  test("when answers to its rows are lost", async () => {
    await using node = await enrolledAgent({
      sandbox: { faults: { lostAnswers: 0.5, routes: ["logs"], seed: 7 } },
    });
    const task = node.runs("i=0; while [ $i -lt 12 ]; do echo $((i=i+1)); sleep 0.4; done");
    await task.finishes("success", PATIENCE);
    isWhole(task, 12);
  });

  test("when rows are cut off before the server has handled them", async () => {
    await using node = await enrolledAgent({ watched: true });
    node.gateway.interfere((route, forward) =>
      route === "logs" && node.gateway.count("logs") % 2 === 1 ? Promise.reject(new Error("cut")) : forward(),
    );
    const task = node.runs("i=0; while [ $i -lt 6 ]; do echo $((i=i+1)); sleep 0.4; done");
    await task.finishes("success", PATIENCE);
    isWhole(task, 6);
  });

  test("when the same line is written again and again and answers are lost", async () => {
    await using node = await enrolledAgent({
      sandbox: { faults: { lostAnswers: 0.5, routes: ["logs"], seed: 3 } },
    });
    const task = node.runs("i=0; while [ $((i=i+1)) -le 5 ]; do echo same line; sleep 1; done");
    await task.finishes("success", PATIENCE);
    expect(
      task
        .rows()
        .map(({ line }) => line)
        .join("")
        .replaceAll("\n", ""),
    ).toBe("same line".repeat(5));
  });

  test.each([2_400, 4_200])(
    "and so are the logs of its neighbours, when the server stands still for %d ms and then works off its queue in any order",
    async (length) => {
      await using node = await enrolledAgent({
        settings: { request_timeout: "1s", max_parallel_tasks: 8 },
        sandbox: { timings: { logRaceWindow: 20 } },
      });
      const tasks = Array.from({ length: 8 }, () =>
        node.runs("i=0; while [ $i -lt 12 ]; do echo $((i=i+1)); sleep 0.25; done"),
      );
      for (const task of tasks) await task.shows("1");
      node.sandbox.setFaults({ freeze: true });
      await elapse(length);
      node.sandbox.setFaults({ freeze: false });
      for (const task of tasks) await task.finishes("success", PATIENCE);
      for (const task of tasks) isWhole(task, 12);
    },
  );

  test("when answers to its completion are lost", async () => {
    await using node = await enrolledAgent({ watched: true });
    let lost = 0;
    node.gateway.interfere(async (route, forward) => {
      const answer = await forward();
      if (route === "completed" && lost++ < 3) throw new Error("lost");
      return answer;
    });
    const task = node.runs("echo 1");
    const first = await task.finishes("success", PATIENCE);
    await node.statusBecomes("done with it", ({ noderax }) => noderax?.tasks.length === 0);
    isWhole(task, 1);
    expect(task.document()).toEqual(first);
  });

  test("when a fifth of all requests fail, and the rest take their time", async () => {
    await using node = await enrolledAgent({ sandbox: { faults: { errorRate: 0.2, delay: 100, seed: 11 } } });
    const tasks = [1, 2, 3].map(() =>
      node.runs("i=0; while [ $i -lt 10 ]; do echo $((i=i+1)); sleep 0.1; done"),
    );
    for (const task of tasks) await task.finishes("success", PATIENCE);
    for (const task of tasks) isWhole(task, 10);
  });

  test("when logs are refused for a while although everything else goes well", async () => {
    await using node = await enrolledAgent({ watched: true });
    node.gateway.interfere((route, forward) =>
      route === "logs" ? refusal(500, "Internal server error") : forward(),
    );
    const task = node.runs("echo 1");
    await until("its row was refused", () => node.gateway.count("logs") > 0);
    for (let i = 0; i < 10; i++) await node.runs("true").finishes("success", PATIENCE);
    node.gateway.interfere(undefined);
    await task.finishes("success", PATIENCE);
    isWhole(task, 1);
  });

  test("when a completion finds its task running again, because a late log call wrote it back", async () => {
    await using node = await enrolledAgent({ watched: true });
    let [completed, reopened] = [false, false];
    node.gateway.interfere(async (route, forward) => {
      // Only a question that is asked after the completion was answered is about it.
      const isAsked = route === "control" && completed && !reopened;
      const answer = await forward();
      if (route === "completed") completed = true;
      if (!isAsked) return answer;
      reopened = true;
      const body = (await answer.json()) as Record<string, unknown>;
      return Response.json({ ...body, status: "running" });
    });
    await node.runs("echo 1").finishes("success", PATIENCE);
    await until("it was completed again", () => node.gateway.count("completed") >= 2);
  });

  test("when the server refuses its completion for its output", async () => {
    await using node = await enrolledAgent({ watched: true });
    node.gateway.interfere((route, forward) =>
      route === "completed" &&
      "output" in (node.gateway.seen.findLast((each) => each.route === route)?.body ?? {})
        ? refusal(400, "output must be shorter")
        : forward(),
    );
    expect((await node.runs("echo 1; exit 4").finishes("failed", PATIENCE)).result).toMatchObject({
      exitCode: 4,
    });
  });

  test("when the server refuses a row for good: the gap is stated", async () => {
    await using node = await enrolledAgent({ watched: true });
    node.gateway.interfere((route, forward) =>
      route === "logs" && node.gateway.count("logs") === 1 ? refusal(400, "line must be nicer") : forward(),
    );
    const task = node.runs("echo bad; sleep 1.5; echo good");
    await task.finishes("success", PATIENCE);
    expect(task.text("stdout")).toBe("good");
    expect(task.text("info")).toContain(
      "a part of the log was refused by the control plane: line must be nicer",
    );
  });
});
