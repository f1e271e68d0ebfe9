// The unit and init script that are written, and what is read of the service's state.
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chooseIdentity, type IdentityCheck } from "../../../src/install/credentials.ts";
import { describeService, nextOf, parseServiceState, supervisedState } from "../../../src/install/service.ts";
import { renderInitScript, renderUnit } from "../../../src/install/unit.ts";
import { userCommands } from "../../../src/install/user.ts";
import { minutes, seconds } from "../../../src/lib/duration.ts";
import { agentLogCommand } from "../../../src/cli/agent-log.ts";

describe("the unit", () => {
  const unit = (change: Partial<Parameters<typeof renderUnit>[0]> = {}): string[] =>
    renderUnit({
      program: "/opt/noderax-agent/noderax-agent",
      config: "/etc/noderax-agent/config.json",
      stateDirectory: "/var/lib/noderax-agent",
      systemd: 252,
      shutdownTimeout: seconds(4),
      ...change,
    }).split("\n");

  test("reports readiness and life, never gives up, and does not restart what a restart cannot mend", () => {
    for (const line of [
      "Type=notify",
      "WatchdogSec=60",
      "Restart=always",
      "StartLimitIntervalSec=0",
      "RestartPreventExitStatus=2 3",
      "ExecStart=/opt/noderax-agent/noderax-agent run",
      "Environment=NODERAX_CONFIG_FILE=/etc/noderax-agent/config.json",
    ])
      expect(unit()).toContain(line);
  });

  test.each([
    [239, [], ["RestartSteps", "ProtectProc", "ProtectClock", "ProtectKernelLogs", "ProtectHostname"]],
    [241, ["ProtectSystem"], ["ProtectHostname", "RestrictSUIDSGID", "PrivateIPC"]],
    [
      247,
      ["ProtectProc", "ProtectClock", "ProtectKernelLogs", "ProtectHostname"],
      ["RestartSteps", "PrivateIPC"],
    ],
    [254, ["RestartSteps", "ProtectProc"], []],
    [0, [], ["RestartSteps", "ProtectProc"]],
  ])("for systemd %d asks only for what that knows", (systemd, has, lacks) => {
    const names = unit({ systemd }).map((line) => line.split("=")[0]);
    for (const name of has) expect(names).toContain(name);
    for (const name of lacks) expect(names).not.toContain(name);
  });

  test("opens the whole machine to terminals only where systemd cannot give them services of their own", () => {
    for (const systemd of [239, 0]) expect(unit({ systemd }).join("\n")).toMatch(/=.*CAP_SYS_ADMIN/);
    for (const systemd of [240, 241, 247, 252]) {
      const lines = unit({ systemd });
      expect(lines).toContain("ProtectSystem=strict");
      expect(lines).toContain("NoNewPrivileges=yes");
      expect(lines.join("\n")).not.toMatch(/=.*CAP_SYS_ADMIN|=.*CAP_SETUID|@mount/);
    }
  });

  test("lets the agent write to its own places alone, and keeps a state directory in /tmp where tasks find it", () => {
    expect(unit({ stateDirectory: "/srv/my state" })).toContain(
      'ReadWritePaths=-/opt/noderax-agent -/etc/noderax-agent "-/srv/my state"',
    );
    expect(unit()).toContain("PrivateTmp=yes");
    for (const stateDirectory of ["/tmp/state", "/var/tmp"])
      expect(unit({ stateDirectory })).not.toContain("PrivateTmp=yes");
  });

  test("gives a stop more time than the agent allows itself", () => {
    expect(unit()).toContain("TimeoutStopSec=30");
    expect(unit({ shutdownTimeout: minutes(2) })).toContain("TimeoutStopSec=135");
  });

  test("writes a path with blanks, percent and dollar signs so that systemd reads it as it is", () => {
    expect(unit({ config: '/srv/a b/100%/$x/"q".json' })).toContain(
      'Environment="NODERAX_CONFIG_FILE=/srv/a b/100%%/$$x/\\"q\\".json"',
    );
  });

  test("the init script quotes its words for the shell", () => {
    const script = renderInitScript({ program: "/opt/it's/agent", config: "/etc/c.json" });
    expect(script).toContain("command='/opt/it'\\''s/agent'");
    expect(Bun.spawnSync(["sh", "-n"], { stdin: Buffer.from(script) }).exitCode).toBe(0);
  });
});

test("the init script starts where no service provides a network, and does not restart with the network", () => {
  const script = renderInitScript({ program: "/opt/agent", config: "/etc/c.json" });
  expect(script).not.toMatch(/^\s*need /m);
});

test("the process, its start and its restarts are read from what supervise-daemon records", () => {
  const directory = mkdtempSync(join(tmpdir(), "noderax-openrc-"));
  try {
    expect(supervisedState(directory)).toEqual({ pid: undefined, since: "", restarts: 0 });
    writeFileSync(join(directory, "child_pid"), "1240");
    writeFileSync(join(directory, "start_count"), "1");
    writeFileSync(join(directory, "start_time"), "2026-11-26 20:57:52");
    expect(supervisedState(directory)).toEqual({ pid: 1240, since: "2026-11-26 20:57:52", restarts: 1 });
  } finally {
    rmSync(directory, { recursive: true });
  }
});

describe("the state of the service", () => {
  const state = parseServiceState(
    "LoadState=loaded\nUnitFileState=enabled\nActiveState=active\nMainPID=42\n" +
      "StateChangeTimestamp=Thu 2026-11-26 20:00:00 UTC\nNRestarts=1\nResult=watchdog\nExecMainStatus=6\n",
  );

  test("is read from systemctl show", () => {
    expect(state).toMatchObject({
      isInstalled: true,
      isEnabled: true,
      active: "active",
      pid: 42,
      restarts: 1,
    });
    expect(describeService(state)).toBe(
      "active since Thu 2026-11-26 20:00:00 UTC, enabled, 1 restart, last end: watchdog (exit code 6)",
    );
  });

  test("says that it goes on trying only of a service that does", () => {
    for (const active of ["activating", "active"])
      expect(nextOf({ ...state, active })).toContain("goes on trying");
    for (const active of ["failed", "inactive"])
      expect(nextOf({ ...state, active })).toContain("not started again by itself");
    expect(nextOf(undefined)).toContain("not started again by itself");
  });

  test("of a service that is not there says so", () => {
    expect(parseServiceState("LoadState=not-found\nMainPID=0\n")).toMatchObject({
      isInstalled: false,
      pid: undefined,
    });
  });
});

describe("of two identities", () => {
  const configured = { nodeId: "a", agentToken: "1" };
  const stored = { nodeId: "b", agentToken: "2" };
  test.each<[IdentityCheck, IdentityCheck, object | undefined]>([
    ["accepted", "accepted", configured],
    ["accepted", "refused", configured],
    ["refused", "accepted", stored],
    ["unknown", "accepted", stored],
    ["refused", "unknown", stored],
    ["unknown", "refused", configured],
    ["unknown", "unknown", undefined],
    ["refused", "refused", undefined],
  ])("the configured one %s and the stored one %s", (first, second, chosen) => {
    const words = [
      { identity: configured, check: first },
      { identity: stored, check: second },
    ] as const;
    expect(chooseIdentity(...words)).toEqual(chosen as typeof configured | undefined);
  });
});

test.each([
  [
    "systemd",
    { tail: "5", since: "10m", follow: true },
    "journalctl --no-pager --output=cat --unit=noderax-agent.service --lines=5 --since=-10m --follow",
  ],
  [
    "systemd",
    { since: "2030-01-31" },
    "journalctl --no-pager --output=cat --unit=noderax-agent.service --since=2030-01-31",
  ],
  ["openrc", { tail: "5" }, "tail -n 5 /var/log/noderax-agent.log"],
  ["openrc", {}, "tail -n +1 /var/log/noderax-agent.log"],
  ["none", {}, undefined],
] as const)("the agent's log under %s with %p", (init, flags, command) => {
  expect(agentLogCommand(init, flags)?.join(" ")).toBe(command as string);
});

test("busybox gets a group first, and shadow's tools a user without a home", () => {
  expect(userCommands("adduser", "noderax", "/h", "/bin/false").map(([name]) => name)).toEqual([
    "addgroup",
    "adduser",
  ]);
  expect(userCommands("useradd", "noderax", "/h", "/bin/false")[0]).toContain("--no-create-home");
});
