// Root access: what the operator wants travels with the claims, what the owner forbids stays forbidden.
//
// Nothing in here may reach `reboot` or `systemctl`: of the operational commands only refusals are run. What becomes of the
// commands themselves is tested with the pure functions (test/unit/tasks).
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  ROOT_PROFILES,
  type RootProfile,
  type RootSurface,
  allows,
} from "../../src/protocol/noderax/root-access.ts";
import { isFinal } from "../../src/protocol/noderax/tasks.ts";
import { type AgentNode, NODE, TEST_LIMIT, asRoot, enrolledAgent } from "../support/agent.ts";
import type { TaskHandle } from "../support/task.ts";
import { asks, isConnected } from "../support/terminal.ts";
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

/** By surface and whether root is asked for: the user id that a request got, or "refused"; of a scan whether it was let in. */
type Outcomes = Record<`${"task" | "terminal" | "operational"}${" as root" | ""}`, string>;

test.skipIf(!asRoot)(
  "every profile gives each surface the user ids that it names, with and without root (needs root)",
  async () => {
    await using node = await enrolledAgent({ settings: { task_poll_interval: "300ms" } });
    await isConnected(node);
    const outcomes: Record<string, Outcomes> = {};
    const expected: Record<string, Outcomes> = {};
    for (const profile of ROOT_PROFILES) {
      node.sandbox.setRootAccess(NODE, profile);
      await applied(node, profile);
      // The control plane's own check would hide the agent's.
      outcomes[profile] = {
        "task as root": await uidOfTask(node, true),
        task: await uidOfTask(node, false),
        "terminal as root": await uidOfTerminal(node, true),
        terminal: await uidOfTerminal(node, false),
        "operational as root": await entryOfScan(node, true),
        operational: await entryOfScan(node, false),
      };
      const uid = (surface: RootSurface): string => (allows(profile, surface) ? "0" : "refused");
      expected[profile] = {
        "task as root": uid("task"),
        task: "65534",
        "terminal as root": uid("terminal"),
        terminal: "65534",
        "operational as root": allows(profile, "operational") ? "let in" : "refused",
        operational: "let in",
      };
    }
    expect(outcomes).toEqual(expected);
  },
);

async function uidOfTask(node: AgentNode, runAsRoot: boolean): Promise<string> {
  const task = node.runs({ unchecked: true, payload: { command: "id -u", runAsRoot, rootScope: "task" } });
  const { status, output, result } = await ended(task);
  return status === "success" ? String(output).trim() : refusedFor("task", result);
}

async function uidOfTerminal(node: AgentNode, runAsRoot: boolean): Promise<string> {
  using shell = asks(node, { runAsRoot, unchecked: true });
  await until("it is open or refused", () => ["open", "failed"].includes(shell.document.status));
  if (shell.document.status === "failed") {
    expect(JSON.stringify(shell.document)).toContain("No root terminal: the root access profile in force");
    return "refused";
  }
  await shell.quiets();
  return await shell.runs("id -u");
}

/** Whatever this machine has of the log: of the operational surface nothing else is harmless. */
async function entryOfScan(node: AgentNode, runAsRoot: boolean): Promise<string> {
  const payload = { sourcePresetId: "kern.log", mode: "preview", runAsRoot };
  const { status, result } = await ended(node.runs({ type: "log.scan", unchecked: true, payload }));
  if (status === "success" || !String(result?.["error"]).includes("root access")) return "let in";
  return refusedFor("operational", result);
}

const ended = (task: TaskHandle) => task.becomes("final", ({ status }) => isFinal(status));

function refusedFor(surface: RootSurface, result: Readonly<Record<string, unknown>> | null): string {
  expect(String(result?.["error"])).toContain(`root access refused (${surface})`);
  return "refused";
}

describe.concurrent("the most that the owner allows", () => {
  test.skipIf(!asRoot)("is what is applied of a profile that gives more (needs root)", async () => {
    await using node = await enrolledAgent({
      settings: { task_poll_interval: "300ms", root_access_max: "operational_terminal" },
    });
    node.sandbox.setRootAccess(NODE, "all");
    await until("it failed", () => node.sandbox.node(NODE).root_access.status === "failed");
    const { applied_profile: now, last_error: error } = node.sandbox.node(NODE).root_access;
    expect(now).toBe("operational_terminal");
    expect(error).toContain(
      'the owner of this machine allows no more root than "operational_terminal" (root_access_max)',
    );
    const task = await node.runs(asRootIn("task", "id -u")).finishes("failed");
    expect(String(task.result?.["error"])).toContain("(root_access_max)");
  });

  const tasks: readonly (readonly [string, string, Record<string, unknown>])[] = [
    ["allow_tasks", "shell.exec", { command: "id -u" }],
    ["allow_packages", "packageList", {}],
    ["allow_packages", "packageSearch", { term: "curl" }],
    ["allow_packages", "packageInstall", { names: ["nx-does-not-exist"] }],
    ["allow_packages", "packageRemove", { names: ["nx-does-not-exist"] }],
    ["allow_packages", "packagePurge", { names: ["nx-does-not-exist"] }],
    ["allow_log_scan", "log.scan", { sourcePresetId: "syslog" }],
  ];
  test.each(tasks)("is said by %s in the result of %s, and in the log", async (setting, type, payload) => {
    await using node = await enrolledAgent({ settings: { [setting]: false } });
    const task = await node.runs({ type, payload, unchecked: true }).finishes("failed");
    const text = `the owner of this machine forbids ${type} (${setting})`;
    expect(task.result?.["error"]).toBe(text);
    expect(node.story()).toContain(text);
    if (setting !== "allow_tasks") await node.runs("true").finishes("success");
  });

  const terminals: readonly (readonly [string, unknown, boolean])[] = [
    ["allow_terminal", false, false],
    ["root_access_max", "operational_task", true],
    ["allow_root_terminals", false, true],
  ];
  test.skipIf(!asRoot).each(terminals)(
    "is said by %s %p to the viewer of a terminal, and in the log (needs root)",
    async (setting, value, runAsRoot) => {
      await using node = await enrolledAgent({ settings: { [setting]: value, task_poll_interval: "300ms" } });
      await isConnected(node);
      node.sandbox.setRootAccess(NODE, "terminal");
      await until("it is applied or failed", () => node.sandbox.node(NODE).root_access.status !== "pending");
      using shell = asks(node, { runAsRoot, unchecked: true });
      await until("it was refused", () => shell.document.status === "failed");
      expect(JSON.stringify(shell.document)).toContain(setting);
      expect(node.log.join()).toContain(setting);
    },
  );
});

describe.concurrent("a control plane over plain HTTP", () => {
  /** An address that is not the loopback's by its name, and yet leads to this machine. */
  const over = (url: string): string => url.replace("127.0.0.1", "0.0.0.0");

  test("gets no root where the owner requires TLS, is reported with the reason, and runs everything else", async () => {
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
