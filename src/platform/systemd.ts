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
  readonly command: readonly string[];
}

/** The command line that starts a transient unit and returns once systemd has taken it. */
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
    "--",
    ...unit.command,
  ];
}

/** The control group a unit runs in, as systemd lays them out: a dash in a slice's name is a level. */
export function controlGroup(slice: string, unit: string): string {
  const parts = slice.replace(/\.slice$/, "").split("-");
  const levels = parts.map((_, i) => `${parts.slice(0, i + 1).join("-")}.slice`);
  return `/${levels.join("/")}/${unit}`;
}
