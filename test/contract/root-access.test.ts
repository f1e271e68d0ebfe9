// Root access: what the operator wants travels with the claims, what the owner forbids stays forbidden.
//
// Nothing in here may reach `reboot` or `systemctl`: of the operational commands only refusals are run. What becomes of the
// commands themselves is tested with the pure functions (test/unit/tasks).
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { RootProfile } from "../../src/protocol/noderax/root-access.ts";
import { type AgentNode, NODE, TEST_LIMIT, asRoot, enrolledAgent } from "../support/agent.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(TEST_LIMIT);

const applied = (node: AgentNode, profile: RootProfile): Promise<void> =>
  until(`${profile} is applied`, () => {
    const { status, applied_profile: now } = node.sandbox.node(NODE).root_access;
    return status === "applied" && now === profile;
  });

const asRootIn = (scope: string, command: string) => ({
  unchecked: true,
  payload: { command, runAsRoot: true, rootScope: scope },
});

describe.concurrent("a root-access profile", () => {
  test.skipIf(!asRoot)(
    "arrives with a claim, is reported with the next, and survives a restart (needs root)",
    async () => {
      await using node = await enrolledAgent({ settings: { task_poll_interval: "300ms" } });
      expect(node.sandbox.node(NODE).root_access).toMatchObject({ profile: "off", applied_profile: "off" });
      node.sandbox.setRootAccess(NODE, "task_terminal");
      expect(node.sandbox.node(NODE).root_access.status).toBe("pending");
      await applied(node, "task_terminal");
      expect(node.sandbox.node(NODE).root_access.last_applied_at).toBeTruthy();
      await node.stops();
      await node.starts();
      expect(node.agent.status().noderax?.root_profile).toBe("task_terminal");
      node.sandbox.setRootAccess(NODE, "off");
      await applied(node, "off");
    },
  );

  test("that the owner forbids is reported as failed, and no task gets root", async () => {
    await using node = await enrolledAgent({
      settings: { task_poll_interval: "300ms", allow_root_tasks: false },
    });
    node.sandbox.setRootAccess(NODE, "operational_task");
    await until("it failed", () => node.sandbox.node(NODE).root_access.status === "failed");
    const { applied_profile: now, last_error: error } = node.sandbox.node(NODE).root_access;
    expect(now).toBe("off");
    if (asRoot) expect(error).toContain("the owner of this machine forbids root tasks (allow_root_tasks)");
    const task = node.runs(asRootIn("task", `touch ${node.file("ran").path}`));
    expect(String((await task.finishes("failed")).result?.["error"])).toContain("root access refused (task)");
    expect(node.file("ran").text()).toBeUndefined();
  });
});

describe.concurrent("a control plane over plain HTTP", () => {
  /** An address that is not the loopback's by its name, and yet leads to this machine. */
  const over = (url: string): string => url.replace("127.0.0.1", "0.0.0.0");

  test("gets no root where the owner requires TLS, is told why, and runs everything else", async () => {
    await using node = await enrolledAgent({
      named: over,
      settings: { require_tls: true, task_poll_interval: "300ms" },
    });
    const warning = `api_url ${over(node.sandbox.url)}: the node's token and all commands cross`;
    expect(node.agent.status().warnings).toContainEqual(expect.stringContaining(warning));
    expect(node.story()).toContain(warning);
    node.sandbox.setRootAccess(NODE, "all");
    await until("it failed", () => node.sandbox.node(NODE).root_access.status === "failed");
    const { applied_profile: now, last_error: error } = node.sandbox.node(NODE).root_access;
    expect(now).toBe("off");
    if (asRoot) expect(error).toContain("gives root only over https (require_tls)");
    for (const [scope, command] of [
      ["task", "id"],
      ["operational", "apt-get update"],
    ] as const) {
      const task = await node.runs(asRootIn(scope, command)).finishes("failed");
      expect(String(task.result?.["error"])).toContain(`root access refused (${scope})`);
      if (asRoot) expect(String(task.result?.["error"])).toContain("require_tls");
    }
    expect((await node.runs("echo hi").finishes("success")).output).toBe("hi\n");
  });

  test.skipIf(!asRoot)("gets root otherwise, and is warned of (needs root)", async () => {
    await using node = await enrolledAgent({
      named: over,
      settings: { task_poll_interval: "300ms" },
    });
    node.sandbox.setRootAccess(NODE, "task");
    await applied(node, "task");
    expect((await node.runs(asRootIn("task", "id -un")).finishes("success")).output).toBe("root\n");
    expect(node.agent.status().warnings).toContainEqual(expect.stringContaining("require_tls=true would"));
    expect(node.agent.status().loops).toContainEqual(
      expect.objectContaining({ name: "clear-text", last_success: expect.any(String) }),
    );
  });

  test("on this machine is not warned of", async () => {
    await using node = await enrolledAgent({ settings: { require_tls: true } });
    expect(node.agent.status().warnings.join()).not.toContain("api_url");
    expect(node.agent.status().loops.map(({ name }) => name)).not.toContain("clear-text");
  });
});

describe.concurrent("a root task", () => {
  test("is refused, with the profile in force, unless the profile allows it", async () => {
    await using node = await enrolledAgent();
    const task = node.runs(asRootIn("task", `touch ${node.file("ran").path}`));
    expect(String((await task.finishes("failed")).result?.["error"])).toContain("root access refused (task)");
    expect(node.file("ran").text()).toBeUndefined();
    expect(() => node.runs({ payload: { command: "id", runAsRoot: true } })).toThrow(
      "does not currently allow task",
    );
  });

  test.skipIf(!asRoot)(
    "runs as root when the profile allows it, by /bin/sh; others do not (needs root)",
    async () => {
      await using node = await enrolledAgent({ settings: { task_poll_interval: "300ms" } });
      node.sandbox.setRootAccess(NODE, "task");
      await applied(node, "task");
      const root = node.runs({
        payload: { command: 'id -un; echo "$0 $HOME $USER"', shell: "/bin/bash", runAsRoot: true },
      });
      expect((await root.finishes("success")).output).toBe("root\n/bin/sh /root root\n");
      expect((await node.runs("id -un").finishes("success")).output).toBe("nobody\n");
      const other = node.runs(asRootIn("operational", "apt-get update"));
      expect(String((await other.finishes("failed")).result?.["error"])).toContain(
        "root access refused (operational)",
      );
    },
  );

  test.skipIf(!asRoot)("can be cancelled, which a helper under sudo could not (needs root)", async () => {
    await using node = await enrolledAgent({ settings: { task_poll_interval: "300ms" } });
    node.sandbox.setRootAccess(NODE, "task");
    await applied(node, "task");
    const task = node.runs({ payload: { command: "sleep 300", runAsRoot: true } });
    await task.isRunning();
    task.cancels();
    await task.finishes("cancelled");
  });

  test.skipIf(!asRoot).each(["id", "echo reboot", "true # systemctl restart noderax-agent"])(
    "of the operational scope does not run %p (needs root)",
    async (command) => {
      await using node = await enrolledAgent({ settings: { task_poll_interval: "300ms" } });
      node.sandbox.setRootAccess(NODE, "operational");
      await applied(node, "operational");
      const { result } = await node.runs(asRootIn("operational", command)).finishes("failed");
      expect(result).toMatchObject({
        error: "Operational root access is limited to reboot, restarting noderax-agent, and apt-get update.",
      });
    },
  );
});
