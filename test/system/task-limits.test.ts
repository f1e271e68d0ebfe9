// The limits of tasks on a machine run by systemd: one that wants more fails by itself and says at which limit, and the agent
// and the tasks beside it go on.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { minutes } from "../../src/lib/duration.ts";
import { AGENT, type Node, bootNode, missing } from "../support/systemd.ts";

setDefaultTimeout(minutes(3));

describe.skipIf(missing !== undefined)(
  `a task beside another one${missing === undefined ? "" : ` (needs ${missing})`}`,
  () => {
    let node: Node;

    beforeAll(async () => {
      node = await bootNode({
        stateDirectory: "/var/lib/noderax-agent",
        settings: { task_memory_max: "64MiB", task_pids_max: 40 },
        controllers: true,
      });
    }, minutes(5));

    afterAll(async () => {
      await node?.[Symbol.asyncDispose]();
    });

    const agentPid = (): Promise<string> =>
      node.sh("systemctl show --property=MainPID,NRestarts noderax-agent.service");

    /** A task that waits for a file while `act` runs, and then ends. */
    async function besideAnother(act: () => Promise<void>): Promise<void> {
      const agent = await agentPid();
      await node.sh("rm -f /var/go");
      const other = await node.order("echo waits; until [ -e /var/go ]; do sleep 0.1; done; echo alive");
      await node.until(`systemctl is-active noderax-task-${other}-1.service`);
      await act();
      await node.sh("touch /var/go");
      expect(await node.ended(other)).toMatchObject({ status: "success", log: "waits\nalive" });
      expect(await agentPid()).toBe(agent);
    }

    test("that takes all memory is killed at task_memory_max, which its error names", () =>
      besideAnother(async () => {
        const hog = await node.ended(await node.order("tail /dev/zero"));
        expect(hog.status).toBe("failed");
        expect(hog.result?.["error"]).toContain("killed: memory limit 64MiB (task_memory_max)");
      }));

    test("that starts processes without end fails at task_pids_max, which its error names", () =>
      besideAnother(async () => {
        const bomb = "n=0; while [ $n -lt 60 ]; do sleep 2 & n=$((n + 1)); done; wait; exit 1";
        const { status, result } = await node.ended(await node.order(bomb));
        expect(status).toBe("failed");
        expect(result?.["error"]).toContain("process limit 40 reached (task_pids_max)");
      }));

    test("that takes the memory of the whole machine is killed before the agent, and says so", async () => {
      await node.sh(
        "sed -i 's/64MiB/64GiB/' /etc/noderax-agent/config.json && systemctl restart noderax-agent",
      );
      await node.until(`${AGENT} status --json | grep -q '"waiting for a task"'`);
      // The machine's memory: what is in use, and 300 MB.
      await node.sh(`
        v1=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory:\\(.*\\)\\/init.scope$/\\1/p' /proc/1/cgroup)
        v2=/sys/fs/cgroup$(sed -n 's/^0::\\(.*\\)\\/init.scope$/\\1/p' /proc/1/cgroup)
        if [ -e "$v1/memory.limit_in_bytes" ]; then
          echo $(($(cat "$v1/memory.usage_in_bytes") + 300000000)) >"$v1/memory.limit_in_bytes"
        else
          echo $(($(cat "$v2/memory.current") + 300000000)) >"$v2/memory.max"
        fi`);
      await besideAnother(async () => {
        const hog = await node.ended(await node.order("tail /dev/zero"));
        expect(hog.status).toBe("failed");
        expect(hog.result?.["error"]).toContain("killed: the machine ran out of memory");
      });
    });

    test("within its limits is not said to have hit one", async () => {
      const { status, result } = await node.ended(await node.order("sleep 0.1 & wait; exit 3"));
      expect(status).toBe("failed");
      expect(String(result?.["error"])).not.toContain("task_");
    });
  },
);
