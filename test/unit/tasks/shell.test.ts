// shell.exec: what a payload asks for is run as asked, or refused with the reason.
import { noUpdates } from "../../support/task.ts";
import { describe, expect, test } from "bun:test";
import { currentAccount, runnerFor } from "../../../src/platform/account.ts";
import { minutes, seconds } from "../../../src/lib/duration.ts";
import type { KindContext, Prepared } from "../../../src/tasks/kinds/kind.ts";
import { shellExec } from "../../../src/tasks/kinds/shell.ts";

const context: KindContext = {
  settings: { task_timeout: minutes(10), ...noUpdates },
  runner: runnerFor(currentAccount()),
  ownService: "noderax-agent.service",
  rebootRefusal: undefined,
};
const prepare = (payload: Record<string, unknown>, changes: Partial<KindContext> = {}): Prepared =>
  shellExec.prepare(payload, { ...context, ...changes });
const refusal = (payload: Record<string, unknown>): string => {
  const prepared = prepare(payload);
  return prepared.do === "refuse" ? prepared.text : `not refused: ${prepared.do}`;
};

test("a command alone runs unprivileged in /bin/sh, with the node's time-out", () => {
  expect(prepare({ command: "echo hi" })).toEqual({
    do: "run",
    argv: ["/bin/sh", "-lc", "echo hi"],
    environment: { SHELL: "/bin/sh" },
    timeout: minutes(10),
  });
});

test("shell, working directory and environment are taken as given; what is informational is ignored", () => {
  const payload = {
    command: " ls\n",
    shell: "/bin/bash",
    working_dir: "/srv/a b",
    environment: { A: "x y", N: 7, T: true, _b1: "" },
    title: "Nightly",
    scheduleId: "s",
  };
  expect(prepare(payload)).toMatchObject({
    argv: ["/bin/bash", "-lc", " ls\n"],
    workingDirectory: "/srv/a b",
    environment: { SHELL: "/bin/bash", A: "x y", N: "7", T: "true", _b1: "" },
  });
});

test("absent and null are the same", () => {
  const empty = { shell: null, working_dir: null, environment: null, timeout: null, timeoutSeconds: null };
  expect(
    prepare({ command: "true", ...empty, timeout_seconds: null, runAsRoot: null, rootScope: null }),
  ).toEqual(prepare({ command: "true" }));
});

test.each([
  [{ timeoutSeconds: 5 }, seconds(5)],
  [{ timeout_seconds: 5 }, seconds(5)],
  [{ timeout_seconds: "90" }, seconds(90)],
  [{ timeoutSeconds: 0.5 }, seconds(0.5)],
  [{ timeout: "1m30s" }, seconds(90)],
  [{ timeoutSeconds: 1, timeout_seconds: 2, timeout: "3s" }, seconds(1)],
  [{ timeout_seconds: 2, timeout: "3s" }, seconds(2)],
  [{}, minutes(10)],
])("%j is its time-out", (fields, timeout) => {
  expect(prepare({ command: "true", ...fields })).toMatchObject({ timeout });
});

test.each([
  [{}, "command is missing"],
  [{ command: "" }, "command is empty"],
  [{ command: " \n\t" }, "command is empty"],
  [{ command: 7 }, "command must be a string"],
  [{ command: null }, "command must be a string"],
  [{ command: "a\0b" }, "command must not contain a NUL"],
  [{ command: "é".repeat(65_536) }, "command is longer than 131071 bytes"],
  [{ command: "x", shell: "bash" }, "shell must be an absolute path"],
  [{ command: "x", shell: "/bin/sh\0" }, "shell must not contain a NUL"],
  [{ command: "x", working_dir: "srv" }, "working_dir must be an absolute path"],
  [{ command: "x", working_dir: "" }, "working_dir must be an absolute path"],
  [{ command: "x", environment: "A=1" }, "environment"],
  [{ command: "x", environment: { "A B": "1" } }, "has a name that is no variable name"],
  [{ command: "x", environment: { "1A": "1" } }, "has a name that is no variable name"],
  [{ command: "x", environment: { "": "1" } }, "has a name that is no variable name"],
  [{ command: "x", environment: { "A=B": "1" } }, "has a name that is no variable name"],
  [{ command: "x", environment: { "A\n": "1" } }, "has a name that is no variable name"],
  [{ command: "x", environment: { A: ["1"] } }, "environment.A must be strings"],
  [{ command: "x", environment: { A: "\0" } }, "environment.A must"],
  [{ command: "x", timeoutSeconds: 0 }, "timeoutSeconds must be more than 0"],
  [{ command: "x", timeout_seconds: -1 }, "timeout_seconds must be more than 0"],
  [{ command: "x", timeout_seconds: "soon" }, "timeout_seconds must be a number of seconds"],
  [{ command: "x", timeout: "soon" }, "timeout must be a duration like 30s or 5m"],
  [{ command: "x", timeout: "0s" }, "timeout must be more than 0"],
  [{ command: "x", timeout: 30 }, "timeout must be a duration like 30s or 5m"],
  [{ command: "x", runAsRoot: "yes" }, "runAsRoot must be true or false"],
])("%j is refused: %s", (payload, reason) => {
  expect(refusal(payload)).toStartWith("invalid payload of shell.exec: ");
  expect(refusal(payload)).toContain(reason);
});

test("all faults of a payload are named at once", () => {
  const text = refusal({ command: "", shell: "sh", timeoutSeconds: 0 });
  for (const field of ["command", "shell", "timeoutSeconds"]) expect(text).toContain(field);
});

test("the longest command the kernel takes is taken", () => {
  expect(prepare({ command: "x".repeat(131_071) }).do).toBe("run");
});

describe("root", () => {
  test("is asked of the surface of any command, unless the scope is operational", () => {
    const surface = (rootScope?: string) =>
      prepare({ command: "apt-get update", runAsRoot: true, rootScope });
    for (const scope of [undefined, "task", "all", ""])
      expect(surface(scope)).toMatchObject({ do: "run", root: "task" });
    expect(surface("operational")).toMatchObject({ do: "run", root: "operational" });
  });

  test("gets the system's shell whatever the payload names", () => {
    const prepared = prepare({ command: "id", shell: "/tmp/evil", runAsRoot: true });
    expect(prepared).toMatchObject({ argv: ["/bin/sh", "-lc", "id"], environment: { SHELL: "/bin/sh" } });
  });

  test("a scope without runAsRoot asks for no root", () => {
    expect(prepare({ command: "id", rootScope: "task" })).not.toHaveProperty("root");
    expect(prepare({ command: "id", runAsRoot: false })).not.toHaveProperty("root");
  });

  const operational = (command: string, here: Partial<KindContext> = {}): Prepared =>
    prepare({ command, runAsRoot: true, rootScope: "operational" }, here);

  test.each(["apt-get update", "  apt-get\t\tupdate\n", "apt-get \n update"])(
    "%j updates the package lists",
    (command) => {
      expect(operational(command)).toMatchObject({
        do: "run",
        root: "operational",
        argv: ["/bin/sh", "-lc", "apt-get update"],
      });
    },
  );

  test.each(["reboot", " reboot ", "\treboot\n"])(
    "%j reboots after the completion was delivered",
    (command) => {
      expect(operational(command)).toMatchObject({ do: "act", root: "operational", command: ["reboot"] });
    },
  );

  test.each(["systemctl restart noderax-agent", "systemctl  restart\tnoderax-agent.service\n"])(
    "%j restarts the agent after the completion was delivered",
    (command) => {
      expect(operational(command)).toMatchObject({
        do: "act",
        root: "operational",
        command: ["systemctl", "--no-block", "restart", "noderax-agent.service"],
      });
    },
  );

  test("a restart restarts the service that this agent is, whatever its name", () => {
    expect(operational("systemctl restart noderax-agent", { ownService: "edge.service" })).toMatchObject({
      command: ["systemctl", "--no-block", "restart", "edge.service"],
    });
  });

  test("a restart of an agent that is no service, and a reboot that would do nothing, are refused", () => {
    expect(operational("systemctl restart noderax-agent", { ownService: undefined })).toMatchObject({
      do: "refuse",
      text: expect.stringContaining("not a service of systemd"),
    });
    expect(operational("reboot", { rebootRefusal: "the agent runs in a container" })).toEqual({
      do: "refuse",
      text: "not rebooted: the agent runs in a container",
    });
  });

  test.each([
    "id",
    "reboot; id",
    "reboot -f",
    "reboot now",
    "rebootx",
    "apt-get upgrade",
    "apt-get update && id",
    "apt-get\u00A0update -o x",
    "apt-getupdate",
    "systemctl restart noderax-agentXservice",
    "systemctl restart sshd",
    "APT-GET UPDATE",
    "$(reboot)",
  ])("%j is more than operational root gives", (command) => {
    expect(operational(command)).toEqual({
      do: "refuse",
      text: "Operational root access is limited to reboot, restarting noderax-agent, and apt-get update.",
    });
  });

  test("what runs under operational root brings no environment or directory of its own", () => {
    const prepared = prepare({
      command: "apt-get update",
      runAsRoot: true,
      rootScope: "operational",
      environment: { LD_PRELOAD: "/tmp/x.so", APT_CONFIG: "/tmp/apt.conf" },
      working_dir: "/tmp",
    });
    expect(prepared).toMatchObject({ do: "run", environment: { SHELL: "/bin/sh" } });
    expect(Object.keys(prepared.do === "run" ? prepared.environment : {})).toEqual(["SHELL"]);
    expect(prepared).not.toHaveProperty("workingDirectory");
  });
});
