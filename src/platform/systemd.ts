// Starts transient units of systemd that outlive this process.
import { existsSync } from "node:fs";
import { seconds } from "../lib/duration.ts";
import { SYSTEM_PATH, isRoot } from "./account.ts";
import { PROCESSES_MAX } from "./isolation.ts";

/** Returns the path of `systemd-run` where systemd is the init and we are root, else undefined. */
export function systemdRun(): string | undefined {
  if (!isRoot() || !existsSync("/run/systemd/system")) return undefined;
  return Bun.which("systemd-run", { PATH: SYSTEM_PATH }) ?? undefined;
}

/**
 * Parses `systemd-run --version` ("252"). 0 for any other text: then we use only what every version knows.
 */
export const systemdVersion = (output: string): number => Number(/^systemd (\d+)/.exec(output)?.[1] ?? 0);

/** Returns the version of systemd on this machine. */
export function installedVersion(systemdRunPath: string): number {
  const asked = Bun.spawnSync([systemdRunPath, "--version"], { env: {}, stdin: "ignore", stderr: "ignore" });
  return systemdVersion(asked.stdout.toString());
}

/** Time between SIGTERM and SIGKILL when systemd stops a unit. */
const STOP_SECONDS = 10;

/**
 * Returns the properties of a unit for a task or terminal: bounded, logs under a name of its own, ends as a whole when it
 * is stopped. Background processes survive the normal end of the command, as they do without systemd: since
 * 250 the unit lasts as long as they do; before, systemd has to watch the first process alone.
 */
export function unitProperties(
  version: number,
  syslogIdentifier: string,
  limits: readonly string[] = [`TasksMax=${PROCESSES_MAX}`],
): string[] {
  return [
    ...limits,
    `TimeoutStopSec=${STOP_SECONDS}`,
    "OOMScoreAdjust=0",
    `SyslogIdentifier=${syslogIdentifier}`,
    // The command itself has to handle the end of one of its processes.
    ...(version >= 243 ? ["OOMPolicy=continue"] : []),
    ...(version >= 250 ? ["ExitType=cgroup", "KillMode=control-group"] : ["KillMode=process"]),
  ];
}

export interface Scope {
  readonly name: string;
  readonly slice: string;
  readonly description: string;
  /** A unit that is stopped before this one when the machine shuts down. */
  readonly outlives: string;
}

/**
 * Returns words to put before a command line that move it into a scope. Process, terminal and environment
 * stay the same.
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
 * Returns `scopePrefix`, or nothing where systemd is missing or does not answer: a person who repairs it
 * needs a terminal.
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

/** Escapes `$` in a word of a unit's command, in which systemd would expand variables. */
export const escapeVariables = (word: string): string => word.replaceAll("$", () => "$$");

/** The slice of tasks, and of the short commands that are run like them. */
export const TASKS_SLICE = "noderax-tasks.slice";

/** Stopped before the units it started when the machine shuts down: else it would report them as killed. */
export const AGENT_UNIT = "noderax-agent.service";

export interface TransientUnit {
  readonly name: string;
  readonly slice: string;
  readonly description: string;
  readonly workingDirectory: string;
  /** A unit that is stopped before this one when the machine shuts down. */
  readonly outlives: string;
  readonly properties: readonly string[];
  readonly command: readonly string[];
}

/**
 * Returns the command line that starts a transient unit; it ends when systemd has accepted the unit. The
 * environment of the command has PATH alone.
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
    ...unit.command.map(escapeVariables),
  ];
}
