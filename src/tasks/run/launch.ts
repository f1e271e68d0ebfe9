// Launches a command: makes its run directory and starts the wrapper, in a systemd unit or in a session of its own.
import { closeSync, mkdirSync, openSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { messageOf } from "../../lib/agent-error.ts";
import { type Runner, SYSTEM_PATH } from "../../platform/account.ts";
import { type View, confined, supervised } from "../../platform/isolation.ts";
import { makePrivateDirectory } from "../../platform/private-directory.ts";
import {
  AGENT_UNIT,
  TASKS_SLICE,
  installedVersion,
  systemdRun,
  transientUnit,
  unitProperties,
} from "../../platform/systemd.ts";
import { type TaskLimits, shellLimits, unitLimits } from "../../platform/task-limits.ts";
import { requireTrusted } from "../../platform/trust/root-trust.ts";
import type { Launch } from "../journal.ts";
import { preventRun, unitOf } from "./directory.ts";
import { type CommandScript, ENTER, READ_COMMAND, WRAPPER, commandScript } from "./wrapper.ts";

/** How a program is started. */
export type LaunchMode = Exclude<Launch["mode"], "agent">;

/** Bytes reserved for the exit status and its time: a whole block, so that no file system inlines it. */
const RESERVED = 4_096;

/** A unit of its own where systemd runs the machine and we are root; else a session of its own. */
export const launchMode = (): LaunchMode => (systemdRun() === undefined ? "session" : "unit");

export interface LaunchOrder {
  readonly directory: string;
  readonly taskId: string;
  readonly attempt: number;
  readonly mode: LaunchMode;
  readonly runner: Runner;
  readonly script: CommandScript;
  /** Whether the command writes a report to descriptor 4. */
  readonly hasReport: boolean;
  /** Bytes kept of each stream. */
  readonly outputLimit: number;
  /** Whether the command sees the processes of other tasks. */
  readonly view: View;
  /** The soft limit of open files outside of a unit, which has systemd's. */
  readonly openFiles: number | undefined;
  readonly limits: TaskLimits;
  /** A file beside the wrapper's, by which the run is found without the journal. */
  readonly record: { readonly name: string; readonly text: string };
}

/**
 * Starts the wrapper. Resolves with the failure in words, after which it never begins, or with undefined once it was
 * started, which says nothing about the command. The wrapper gets a clean environment; command.sh holds that of the command.
 */
export async function launch(order: LaunchOrder): Promise<string | undefined> {
  const { directory, runner, view, mode } = order;
  try {
    // Checked before each launch: a parent directory may have changed its owner, or been exchanged, since the start.
    requireTrusted(dirname(directory), "run directory", { passShared: true });
    mkdirSync(dirname(directory), { recursive: true, mode: 0o700 });
    using made = makePrivateDirectory(directory);
    made.write("command.sh", commandScript(order.script));
    made.write("wrapper.sh", WRAPPER);
    made.write(order.record.name, order.record.text);
    made.check();
    reserveFile(join(directory, "exit"));
  } catch (error) {
    return `the run directory cannot be written: ${messageOf(error)}`;
  }
  const blocks = String(Math.max(1, Math.ceil(order.outputLimit / 512)));
  const openFiles = mode === "unit" ? undefined : order.openFiles;
  const limits = mode === "unit" ? [] : shellLimits(order.limits);
  const processesMax = order.limits.processes;
  const command = confined(
    { view, openFiles, onTerminal: false, processesMax, limits },
    runner.shell(READ_COMMAND),
  );
  const wrapper = supervised(view, [
    "/bin/sh",
    "-c",
    ENTER,
    "sh",
    directory,
    blocks,
    view,
    order.hasReport ? "report" : "none",
    ...command,
  ]);
  const failure = mode === "unit" ? await startUnit(order, wrapper) : startSession(order, wrapper);
  // A `systemd-run` that was killed may have started the unit before.
  return failure !== undefined && preventRun(directory) ? failure : undefined;
}

function startSession({ directory }: LaunchOrder, wrapper: string[]): string | undefined {
  try {
    const child = Bun.spawn(wrapper, {
      cwd: directory,
      env: { PATH: SYSTEM_PATH },
      stdio: ["ignore", "ignore", "ignore"],
      detached: true,
    });
    child.unref();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

let version: number | undefined;

async function startUnit(
  { directory, taskId, attempt, limits }: LaunchOrder,
  wrapper: string[],
): Promise<string | undefined> {
  const run = systemdRun();
  if (run === undefined) return "systemd-run was not found";
  const child = Bun.spawn(
    transientUnit(run, {
      name: unitOf(taskId, attempt),
      slice: TASKS_SLICE,
      description: `noderax task ${taskId}`,
      workingDirectory: directory,
      outlives: AGENT_UNIT,
      properties: unitProperties((version ??= installedVersion(run)), "noderax-task", unitLimits(limits)),
      command: wrapper,
    }),
    { env: { PATH: SYSTEM_PATH }, stdio: ["ignore", "ignore", "pipe"] },
  );
  const message = await new Response(child.stderr).text();
  return (await child.exited) === 0
    ? undefined
    : `systemd-run: ${message.trim() || `exit code ${child.exitCode}`}`;
}

/** Reserves the block of the exit status: overwriting it later needs no free space. */
function reserveFile(path: string): void {
  const file = openSync(path, "w", 0o600);
  try {
    writeSync(file, "\n".repeat(RESERVED));
  } finally {
    closeSync(file);
  }
}
