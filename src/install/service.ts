// Queries and controls the installed service through the init system (systemd or OpenRC).
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { SYSTEM_PATH } from "../platform/account.ts";
import { AgentError, exit } from "../lib/agent-error.ts";
import { systemdVersion } from "../platform/systemd.ts";
import { UNIT, places } from "./places.ts";

export type InitSystem = "systemd" | "openrc" | "none";

/** Returns the init system that runs here. */
export function initSystem(): InitSystem {
  if (existsSync("/run/systemd/system") && program("systemctl") !== null) return "systemd";
  if (existsSync("/run/openrc") && program("rc-service") !== null) return "openrc";
  return "none";
}

const program = (name: string): string | null => Bun.which(name, { PATH: SYSTEM_PATH });

export interface ServiceState {
  readonly isInstalled: boolean;
  readonly isEnabled: boolean;
  /** systemd's ActiveState: active, inactive, failed, activating, …; with OpenRC active or inactive. */
  readonly active: string;
  readonly pid: number | undefined;
  /** As systemd writes it: "Thu 2026-11-26 20:00:00 UTC". */
  readonly since: string;
  /** How often systemd restarted it automatically. */
  readonly restarts: number;
  /** How it last ended: "success", "exit-code", "watchdog", … */
  readonly result: string;
  readonly exitStatus: number;
}

const PROPERTIES =
  "LoadState,UnitFileState,ActiveState,MainPID,StateChangeTimestamp,NRestarts,Result,ExecMainStatus";

/** Parses the output of `systemctl show`. Pure. */
export function parseServiceState(text: string): ServiceState {
  const values = new Map(
    text.split("\n").map((line) => {
      const [name = "", ...rest] = line.split("=");
      return [name, rest.join("=").trim()] as const;
    }),
  );
  const number = (name: string): number => Number(values.get(name) ?? "") || 0;
  return {
    isInstalled: values.get("LoadState") === "loaded",
    isEnabled: values.get("UnitFileState") === "enabled",
    active: values.get("ActiveState") ?? "unknown",
    pid: number("MainPID") || undefined,
    since: values.get("StateChangeTimestamp") ?? "",
    restarts: number("NRestarts"),
    result: values.get("Result") ?? "",
    exitStatus: number("ExecMainStatus"),
  };
}

/** Returns one line about the service, as "active since …, enabled, 2 restarts". Pure. */
export function describeService(state: ServiceState): string {
  const { active, since, isEnabled, restarts, result, exitStatus } = state;
  const end = result === "" || result === "success" ? "" : `last end: ${result} (exit code ${exitStatus})`;
  return [
    since === "" ? active : `${active} since ${since}`,
    isEnabled ? "enabled" : "not enabled",
    `${restarts} ${restarts === 1 ? "restart" : "restarts"}`,
    end,
  ]
    .filter(Boolean)
    .join(", ");
}

/** Returns what happens to a service that was started and does not work yet, and what to type. Pure. */
export function nextOf(state: ServiceState | undefined): string {
  return state === undefined || state.active === "failed" || state.active === "inactive"
    ? "It is not started again by itself. When the reason is mended:  noderax-agent start"
    : "It goes on trying. Look at it:  noderax-agent status";
}

/** Returns the state of the service; undefined when it is not installed, or there is no init system. */
export function serviceState(init: InitSystem = initSystem()): ServiceState | undefined {
  if (init === "systemd") {
    const { stdout } = runProgram(["systemctl", "show", `--property=${PROPERTIES}`, UNIT]);
    const state = parseServiceState(stdout);
    return state.isInstalled ? state : undefined;
  }
  if (init === "none" || !existsSync(places.initScript)) return undefined;
  const isRunning = runProgram(["rc-service", "noderax-agent", "status"]).code === 0;
  return {
    isInstalled: true,
    isEnabled: runProgram(["rc-update", "show", "default"]).stdout.includes("noderax-agent"),
    active: isRunning ? "active" : "inactive",
    ...supervisedState(),
    result: "",
    exitStatus: 0,
  };
}

/** Reads what OpenRC's supervise-daemon records of its child: one value a file, none of a service that is stopped. */
export function supervisedState(
  directory = "/run/openrc/options/noderax-agent",
): Pick<ServiceState, "pid" | "since" | "restarts"> {
  const value = (name: string): string => {
    try {
      return readFileSync(join(directory, name), "utf8").trim();
    } catch {
      return "";
    }
  };
  return {
    pid: Number(value("child_pid")) || undefined,
    since: value("start_time"),
    restarts: Number(value("start_count")) || 0,
  };
}

export type ServiceAction = "start" | "stop" | "restart" | "enable" | "disable" | "reload";

const COMMANDS: Record<Exclude<InitSystem, "none">, Record<ServiceAction, readonly string[] | undefined>> = {
  systemd: {
    start: ["systemctl", "start", UNIT],
    stop: ["systemctl", "stop", UNIT],
    restart: ["systemctl", "restart", UNIT],
    enable: ["systemctl", "enable", "--quiet", UNIT],
    disable: ["systemctl", "disable", "--quiet", UNIT],
    reload: ["systemctl", "daemon-reload"],
  },
  openrc: {
    start: ["rc-service", "noderax-agent", "start"],
    stop: ["rc-service", "noderax-agent", "stop"],
    restart: ["rc-service", "noderax-agent", "restart"],
    enable: ["rc-update", "add", "noderax-agent", "default"],
    disable: ["rc-update", "del", "noderax-agent", "default"],
    reload: undefined,
  },
};

/**
 * Runs the init system's command for `action`; does nothing where there is no init system. Throws "service.failed" with the
 * init system's message.
 */
export function manage(action: ServiceAction, init: InitSystem = initSystem()): void {
  const command = init === "none" ? undefined : COMMANDS[init][action];
  if (command === undefined) return;
  const { code, stderr } = runProgram(command);
  if (code === 0) return;
  const denied = /denied|authentication|not permitted/i.test(stderr);
  throw new AgentError(
    "service.failed",
    // The lines after the first say where to look further, which the hint does.
    `${command.join(" ")} failed: ${stderr.trim().split("\n")[0] || `exit code ${code}`}`,
    {
      hint: denied ? "Run it with sudo." : "See why:  noderax-agent logs --agent --tail 50",
      exit: denied ? exit.refused : exit.failed,
    },
  );
}

/** Ends the tasks and terminals of an agent that is being removed, and resets systemd's failure count. */
export function endWhatRuns(init: InitSystem): void {
  if (init !== "systemd") return;
  runProgram(["systemctl", "stop", "noderax.slice"]);
  runProgram(["systemctl", "reset-failed", UNIT]);
}

/** Returns the version of systemd; 0 when it is not the init system. */
export const systemdInUse = (init: InitSystem): number =>
  init === "systemd" ? systemdVersion(runProgram(["systemctl", "--version"]).stdout) : 0;

interface ProgramResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a system program and waits for it. Exit code 127 when it is missing. */
export function runProgram(command: readonly string[]): ProgramResult {
  try {
    const child = Bun.spawnSync([...command], {
      env: { PATH: SYSTEM_PATH, LC_ALL: "C" },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    return { code: child.exitCode, stdout: child.stdout.toString(), stderr: child.stderr.toString() };
  } catch (error) {
    return { code: 127, stdout: "", stderr: String(error) };
  }
}
