// What a task may do on a node: the owner's word first, then the root-access profile, for every surface.
import { noUpdates } from "../../support/task.ts";
import { describe, expect, test } from "bun:test";
import { currentAccount, runnerFor } from "../../../src/platform/account.ts";
import { minutes } from "../../../src/lib/duration.ts";
import { ROOT_PROFILES, ROOT_SURFACES, type RootProfile } from "../../../src/protocol/noderax/root-access.ts";
import type { Prepared } from "../../../src/tasks/kinds/kind.ts";
import { TASK_KINDS } from "../../../src/tasks/kinds/kinds.ts";
import { type Permissions, prepareTask } from "../../../src/tasks/permission.ts";

const here: Permissions = {
  kinds: TASK_KINDS,
  owner: { allow_tasks: true, allow_packages: true, allow_log_scan: true },
  settings: { task_timeout: minutes(10), ...noUpdates },
  runner: runnerFor(currentAccount()),
  rootProfile: "off",
  rootRefusal: () => undefined,
  ownService: "noderax-agent.service",
  rebootRefusal: undefined,
};
const shell = (payload: Record<string, unknown>, changes: Partial<Permissions> = {}): Prepared =>
  prepareTask("shell.exec", payload, { ...here, ...changes });

test.each(["packageTeleport", "", "SHELL.EXEC", "__proto__", "constructor"])(
  "the unknown type %p is refused with the known ones",
  (type) => {
    const prepared = prepareTask(type, {}, here);
    const known = TASK_KINDS.map((kind) => kind.type).join(", ");
    const text = `unsupported task type "${type}": this agent runs ${known}`;
    expect(prepared).toEqual({ do: "refuse", text });
  },
);

test("what the owner forbids is refused before its payload is read, with the setting", () => {
  const owner = { ...here.owner, allow_tasks: false };
  const text = "the owner of this machine forbids shell.exec (allow_tasks)";
  expect(shell({ command: "id" }, { owner })).toEqual({ do: "refuse", text });
  expect(shell({}, { owner })).toEqual({ do: "refuse", text });
});

test("the owner's other settings do not concern shell commands", () => {
  const owner = { allow_tasks: true, allow_packages: false, allow_log_scan: false };
  expect(shell({ command: "id" }, { owner }).do).toBe("run");
});

describe("root", () => {
  const surfaces: Record<RootProfile, readonly string[]> = {
    off: [],
    operational: ["operational"],
    task: ["task"],
    terminal: [],
    operational_task: ["operational", "task"],
    operational_terminal: ["operational"],
    task_terminal: ["task"],
    all: ["operational", "task"],
  };

  test.each(ROOT_PROFILES)("the profile %s gives what it names and nothing else", (rootProfile) => {
    for (const [command, prepared] of [
      ["apt-get update", "run"],
      ["reboot", "act"],
      ["systemctl restart noderax-agent", "act"],
    ] as const) {
      const ask = (rootScope?: string) => shell({ command, runAsRoot: true, rootScope }, { rootProfile });
      const operational = surfaces[rootProfile].includes("operational");
      expect(ask("operational").do).toBe(operational ? prepared : "refuse");
      expect(ask("task").do).toBe(surfaces[rootProfile].includes("task") ? "run" : "refuse");
      // Without a scope, and with one we do not know, it is the scope of any command.
      expect(ask()).toEqual(ask("task"));
      expect(ask("all")).toEqual(ask("task"));
    }
  });

  test.each(ROOT_PROFILES)("the profile %s does not matter to a command without root", (rootProfile) => {
    const prepared = shell({ command: "id", rootScope: "task" }, { rootProfile });
    expect(prepared.do).toBe("run");
    expect(prepared).not.toHaveProperty("root");
  });

  test.each(ROOT_SURFACES)("a refusal names the surface and the profile, or this machine's reason", (it) => {
    const payload = { command: "apt-get update", runAsRoot: true, rootScope: it };
    const surface = it === "operational" ? "operational" : "task";
    expect(shell(payload, { rootProfile: "terminal" })).toEqual({
      do: "refuse",
      text: `root access refused (${surface}): the root access profile applied on this node is "terminal"`,
    });
    expect(shell(payload, { rootRefusal: () => "the owner forbids it" })).toEqual({
      do: "refuse",
      text: `root access refused (${surface}): the owner forbids it`,
    });
  });
});
