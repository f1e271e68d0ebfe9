// The installed service: asks the machine's init system about it, and tells it what to do.
import { existsSync } from "node:fs";
import { SYSTEM_PATH } from "../platform/account.ts";
import { AgentError, exit } from "../lib/agent-error.ts";
import { systemdVersion } from "../platform/systemd.ts";
import { UNIT, places } from "./places.ts";

export type InitSystem = "systemd" | "openrc" | "none";

export function initSystem(): InitSystem {
  if (existsSync("/run/systemd/system") && program("systemctl") !== null) return "systemd";
  if (existsSync("/run/openrc") && program("rc-service") !== null) return "openrc";
  return "none";
}

const program = (name: string): string | null => Bun.which(name, { PATH: SYSTEM_PATH });

export interface ServiceState {
  readonly isInstalled: boolean;
  readonly isEnabled: boolean;
  /** active, inactive, failed, activating, …; of systemd. */
  readonly active: string;
  readonly pid: number | undefined;
  /** As systemd writes it: "Thu 2026-11-26 20:00:00 UTC". */
  readonly since: string;
  /** How often systemd has started it again by itself. */
  readonly restarts: number;
  /** "success", "exit-code", "watchdog", … of the last end. */
  readonly result: string;
  readonly exitStatus: number;
}

const PROPERTIES =
  "LoadState,UnitFileState,ActiveState,MainPID,StateChangeTimestamp,NRestarts,Result,ExecMainStatus";

/** From the lines of `systemctl show`. Pure. */
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

/** "active since …, enabled, 2 restarts". Pure. */
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

/** Undefined where there is no such service, or no init system that could be asked. */
export function serviceState(init: InitSystem = initSystem()): ServiceState | undefined {
  if (init === "systemd") {
    const { stdout } = call(["systemctl", "show", `--property=${PROPERTIES}`, UNIT]);
    const state = parseServiceState(stdout);
    return state.isInstalled ? state : undefined;
  }
  if (init === "none" || !existsSync(places.initScript)) return undefined;
  const isRunning = call(["rc-service", "noderax-agent", "status"]).code === 0;
  return {
    isInstalled: true,
    isEnabled: call(["rc-update", "show", "default"]).stdout.includes("noderax-agent"),
    active: isRunning ? "active" : "inactive",
    pid: undefined,
    since: "",
    restarts: 0,
    result: "",
    exitStatus: 0,
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

/** Throws an AgentError with what the init system says when it fails. Does nothing where there is none. */
export function manage(action: ServiceAction, init: InitSystem = initSystem()): void {
  const command = init === "none" ? undefined : COMMANDS[init][action];
  if (command === undefined) return;
  const { code, stderr } = call(command);
  if (code === 0) return;
  const denied = /denied|authentication|not permitted/i.test(stderr);
  throw new AgentError(
    "service.failed",
    `${command.join(" ")} failed: ${stderr.trim() || `exit code ${code}`}`,
    {
      hint: denied ? "Run it with sudo." : "See why:  noderax-agent logs --agent --tail 50",
      exit: denied ? exit.refused : exit.failed,
    },
  );
}

/** Ends the tasks and terminals that an agent which will not come back has left, and forgets its failures. */
export function endWhatRuns(init: InitSystem): void {
  if (init !== "systemd") return;
  call(["systemctl", "stop", "noderax.slice"]);
  call(["systemctl", "reset-failed", UNIT]);
}

/** 0 where systemd is not the init system. */
export const systemdInUse = (init: InitSystem): number =>
  init === "systemd" ? systemdVersion(call(["systemctl", "--version"]).stdout) : 0;

interface Called {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program of the system; a missing one is exit code 127. */
export function call(command: readonly string[]): Called {
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
