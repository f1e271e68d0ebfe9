// systemd, where it runs this machine: transient units that outlive us.
import { existsSync } from "node:fs";
import { seconds } from "../lib/duration.ts";
import { SYSTEM_PATH, isRoot } from "./account.ts";
import { PROCESSES_MAX } from "./isolation.ts";

/** The `systemd-run` to use, when systemd is the init of this machine and we may ask it for units. */
export function systemdRun(): string | undefined {
  if (!isRoot() || !existsSync("/run/systemd/system")) return undefined;
  return Bun.which("systemd-run", { PATH: SYSTEM_PATH }) ?? undefined;
}

/** "252" of `systemd-run --version`; 0 when it does not say: then only what every version knows is asked for. */
export const systemdVersion = (output: string): number => Number(/^systemd (\d+)/.exec(output)?.[1] ?? 0);

/** The version of this machine's systemd. It does not change while we run. */
export function installedVersion(systemdRunPath: string): number {
  const asked = Bun.spawnSync([systemdRunPath, "--version"], { env: {}, stdin: "ignore", stderr: "ignore" });
  return systemdVersion(asked.stdout.toString());
}

/** Between SIGTERM and SIGKILL when a unit is stopped from outside, or the machine shuts down. */
const STOP_SECONDS = 10;

/**
 * The properties of a unit that runs a command for somebody else: it is bounded, logs under a name of its own, and
 * ends as a whole when it is stopped. What it leaves in the background lives on after its normal end, as it does
 * without systemd: since 250 the unit lasts as long as that; before, systemd must look at the first process alone.
 */
export function unitProperties(version: number): string[] {
  return [
    `TasksMax=${PROCESSES_MAX}`,
    `TimeoutStopSec=${STOP_SECONDS}`,
    "OOMScoreAdjust=0",
    "SyslogIdentifier=noderax-task",
    // The death of one process out of many is for the command to handle.
    ...(version >= 243 ? ["OOMPolicy=continue"] : []),
    ...(version >= 250 ? ["ExitType=cgroup", "KillMode=control-group"] : ["KillMode=process"]),
  ];
}

export interface Scope {
  readonly name: string;
  readonly slice: string;
  readonly description: string;
  /** A unit that is stopped before this one when the machine goes down. */
  readonly outlives: string;
}

/**
 * The words before a command line that move it into a scope of its own and then become it: the process, its terminal and
 * its environment stay.
 */
export const scopePrefix = (systemdRunPath: string, scope: Scope): string[] => [
  systemdRunPath,
  "--scope",
  "--quiet",
  "--collect",
  `--unit=${scope.name}`,
  `--slice=${scope.slice}`,
  `--description=${scope.description}`,
  `--property=Before=${scope.outlives}`,
  `--property=TasksMax=${PROCESSES_MAX}`,
  `--property=TimeoutStopSec=${STOP_SECONDS}`,
  "--",
];

/**
 * The prefix for a scope, or nothing where there is no systemd, or where it does not answer: a person who comes to mend
 * that must get a terminal.
 */
export async function usableScope(scope: Scope): Promise<string[]> {
  const run = systemdRun();
  if (run === undefined) return [];
  const trial = Bun.spawn([...scopePrefix(run, { ...scope, name: `trial-${scope.name}` }), "true"], {
    env: { PATH: SYSTEM_PATH },
    stdio: ["ignore", "ignore", "ignore"],
    timeout: seconds(3),
    killSignal: "SIGKILL",
  });
  return (await trial.exited) === 0 ? scopePrefix(run, scope) : [];
}

/** Goes down before what it started when the machine does: else it would see that killed, and report it. */
export const AGENT_UNIT = "noderax-agent.service";

export interface TransientUnit {
  readonly name: string;
  readonly slice: string;
  readonly description: string;
  readonly workingDirectory: string;
  /** A unit that is stopped before this one when the machine goes down. */
  readonly outlives: string;
  readonly properties: readonly string[];
  readonly command: readonly string[];
}

/**
 * The command line that starts a transient unit and returns once systemd has taken it. The command sees PATH alone of
 * what systemd would put into its environment, and its words as they are: systemd expands variables in them.
 */
export function transientUnit(systemdRunPath: string, unit: TransientUnit): string[] {
  return [
    systemdRunPath,
    "--quiet",
    "--no-block",
    "--collect",
    `--unit=${unit.name}`,
    `--slice=${unit.slice}`,
    `--description=${unit.description}`,
    `--working-directory=${unit.workingDirectory}`,
    `--property=Before=${unit.outlives}`,
    ...unit.properties.map((property) => `--property=${property}`),
    "--",
    "/usr/bin/env",
    "-i",
    `PATH=${SYSTEM_PATH}`,
    ...unit.command.map((word) => word.replaceAll("$", () => "$$")),
  ];
}
