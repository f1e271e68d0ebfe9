// The clock of the node is set while it works, and differs from the server's: tasks run, end and are limited as ever.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type NodeOptions, type ProcessNode, TEST_LIMIT, enrolledProcess } from "../support/agent.ts";
import { minutes, seconds } from "../../src/lib/duration.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(TEST_LIMIT);

const PRELOAD = join(import.meta.dir, "../support/stepped-clock.ts");

interface Stepped {
  readonly node: ProcessNode;
  /** Sets the agent's clock so far from ours. */
  readonly sets: (offset: number) => void;
}

async function stepped(offset: number, options: NodeOptions = {}): Promise<Stepped & AsyncDisposable> {
  const file = `/tmp/noderax-clock-${crypto.randomUUID()}`;
  const sets = (by: number): void => writeFileSync(file, String(by));
  sets(offset);
  const env = { BUN_OPTIONS: `--preload ${PRELOAD}`, CLOCK_OFFSET: file };
  const node = await enrolledProcess({ ...options, env });
  return {
    node,
    sets,
    async [Symbol.asyncDispose]() {
      await node[Symbol.asyncDispose]();
      await Bun.file(file).delete();
    },
  };
}

const SWEPT = { timings: { sweepInterval: 100 } };

describe.concurrent("the clock of the node", () => {
  test.each([-minutes(30), minutes(45)])("set by %d ms while it runs ends no task", async (by) => {
    await using it = await stepped(0, { sandbox: SWEPT });
    const first = it.node.runs("sleep 1; echo through");
    await first.isRunning();
    it.sets(by);
    const second = it.node.runs("sleep 0.2; echo after");
    await first.finishes("success");
    const { result } = await second.finishes("success");
    expect(result?.["durationMs"]).toBeWithin(150, seconds(15));
  });

  test.each([-minutes(40), minutes(40)])(
    "that is %d ms off is no reason to end a task as overdue",
    async (by) => {
      await using it = await stepped(by, { sandbox: SWEPT });
      const task = it.node.runs("sleep 0.5; echo done");
      const before = Date.now();
      const document = await task.finishes("success");
      // Told in the server's time: what people see there fits together.
      expect(Date.parse(document.started_at ?? "")).toBeWithin(before - 3_000, Date.now() + 3_000);
      expect(Date.parse(document.finished_at ?? "")).toBeWithin(before - 3_000, Date.now() + 3_000);
    },
  );

  test("set back during a restart neither shortens nor lengthens the limit of a running task", async () => {
    await using it = await stepped(0);
    const task = it.node.runs(`echo $$ > ${it.node.file("pid").path}; sleep 300`, { timeout: "6s" });
    await it.node.file("pid").appears();
    await it.node.dies();
    it.sets(-minutes(30));
    const begun = performance.now();
    await it.node.starts();
    await it.node.status();
    await until("the task is taken up", () => it.node.log.some((line) => line.includes("resumed")));
    expect(task.document().status).toBe("running");
    expect((await task.finishes("failed")).result).toMatchObject({ reason: "timeout" });
    expect(performance.now() - begun).toBeLessThan(seconds(15));
  });
});
