// A task that wants more than its limits fails by itself: the agent and the tasks beside it go on.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { namespaceBoundsProcesses, whyNoPrivateView } from "../../src/platform/isolation.ts";
import { TEST_LIMIT, asRoot, enrolledAgent } from "../support/agent.ts";

setDefaultTimeout(TEST_LIMIT);

const bounded = asRoot && namespaceBoundsProcesses() && (await whyNoPrivateView()) === undefined;

describe.concurrent("a task beside another one", () => {
  test("that takes all memory fails at task_memory_max", async () => {
    await using node = await enrolledAgent({
      settings: { task_memory_max: "64MiB", task_poll_interval: "300ms" },
    });
    const other = node.runs(`until [ -e ${node.file("go").path} ]; do sleep 0.1; done; echo alive`);
    const hog = await node.runs("tail /dev/zero").finishes("failed");
    expect(hog.output).toContain("memory exhausted");
    await Bun.write(node.file("go").path, "");
    expect((await other.finishes("success")).output).toBe("alive\n");
  });

  test.skipIf(!bounded)(
    "that starts processes without end fails at task_pids_max (needs root, private views and Linux 6.14)",
    async () => {
      await using node = await enrolledAgent({
        settings: { task_pids_max: 40, task_isolation: "auto", task_poll_interval: "300ms" },
      });
      // The kernel counts pids: the first 300 of a namespace come on top, and are not used again.
      const used = "n=0; while [ $n -lt 340 ]; do (:); n=$((n + 1)); done";
      const bomb = await node
        .runs(`${used}; n=0; while [ $n -lt 60 ]; do sleep 3 & n=$((n + 1)); done; echo $n`)
        .finishes("failed");
      expect(String(bomb.output)).toMatch(/fork/i);
      expect((await node.runs("echo alive").finishes("success")).output).toBe("alive\n");
    },
  );
});
