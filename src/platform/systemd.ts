// systemd, where it runs this machine: transient units that outlive us.
import { existsSync } from "node:fs";
import { SYSTEM_PATH, isRoot } from "./account.ts";

/** The `systemd-run` to use, when systemd is the init of this machine and we may ask it for units. */
export function systemdRun(): string | undefined {
  if (!isRoot() || !existsSync("/run/systemd/system")) return undefined;
  return Bun.which("systemd-run", { PATH: SYSTEM_PATH }) ?? undefined;
}

export interface TransientUnit {
  readonly name: string;
  readonly slice: string;
  readonly description: string;
  readonly workingDirectory: string;
  /** A unit that is stopped before this one when the machine goes down. */
  readonly outlives: string;
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
    // What a command leaves in the background lives on after its normal end, as it does without systemd.
    "--property=KillMode=process",
    "--",
    "/usr/bin/env",
    "-i",
    `PATH=${SYSTEM_PATH}`,
    ...unit.command.map((word) => word.replaceAll("$", () => "$$")),
  ];
}
