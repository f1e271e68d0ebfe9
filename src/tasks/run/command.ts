// Runs the command of a task: launches it, or takes up a launch of an earlier process, and follows it to its end.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { epochOf, steadyNow, wallNow } from "../../lib/clock.ts";
import { type Duration, humanDuration } from "../../lib/duration.ts";
import { MIB } from "../../lib/size.ts";
import { shortId } from "../../lib/text.ts";
import { decodeText } from "../../lib/utf8.ts";
import type { Runner } from "../../platform/account.ts";
import { bootId } from "../../platform/processes.ts";
import type { TaskLimits } from "../../platform/task-limits.ts";
import {
  type DrivePorts,
  type EndedTask,
  type TaskSettings,
  type WithSlot,
  graceOf,
  limitsOf,
  withFinished,
} from "../context.ts";
import type { Launch, TaskRecord } from "../journal.ts";
import { type RunCommand, type RunEnd, taskKindOf } from "../kinds/kind.ts";
import type { Stream } from "../output/rows.ts";
import { runRecord } from "../recover.ts";
import { unrun } from "../report.ts";
import { limitOf } from "../time-limit.ts";
import { REPORT, openRun, runDirectory } from "./directory.ts";
import { environmentOf } from "./environment.ts";
import { follow } from "./follow.ts";
import { type LaunchMode, launch, launchMode } from "./launch.ts";
import { readSchedules, scheduledNote } from "./schedules.ts";
import { type Spool, openSpool } from "./spool.ts";
import type { CommandScript } from "./wrapper.ts";

/** How a command is run: what `task explain` shows, and what is launched. */
export interface CommandPlan {
  readonly runner: Runner;
  readonly asRoot: boolean;
  readonly script: CommandScript;
  readonly limits: TaskLimits;
  readonly grace: Duration;
  readonly mode: LaunchMode;
}

/** Returns how a command is run with these settings. Changes nothing. */
export function planCommand(
  taskId: string,
  prepared: RunCommand,
  runners: DrivePorts["runners"],
  settings: TaskSettings,
): CommandPlan {
  const asRoot = prepared.root !== undefined;
  const runner = asRoot ? runners.root : runners.task;
  // A limit that ends dpkg leaves broken packages: memory and processor are limited for what operators order.
  const own = prepared.stopsItself === true ? { task_memory_max: undefined, task_cpu_quota: undefined } : {};
  return {
    runner,
    asRoot,
    script: {
      argv: prepared.argv,
      environment: environmentOf(prepared.environment, runner.account, taskId),
      workingDirectory: prepared.workingDirectory,
    },
    limits: limitsOf({ ...settings, ...own }),
    grace: graceOf({ grace: prepared.killGrace }, settings),
    mode: launchMode(),
  };
}

/** Resolves with the end of the task; with undefined when `signal` aborted: the next process goes on. */
export async function launchCommand(
  task: TaskRecord,
  prepared: RunCommand,
  attempt: number,
  ports: DrivePorts,
  context: WithSlot,
  signal: AbortSignal,
): Promise<EndedTask | undefined> {
  const { journal, runners, settings, disk, log } = ports;
  disk.check();
  const shortage = disk.shortage();
  if (shortage !== undefined) return { outcome: unrun("failed", `not run: ${shortage}`) };
  const plan = planCommand(task.id, prepared, runners, settings);
  const { runner, asRoot, script, limits, grace, mode } = plan;
  const view = await ports.view(asRoot);
  const now = steadyNow();
  const { deadline, limit } = limitOf(task, prepared.timeout, grace, now);
  if (deadline < now + prepared.timeout) {
    context.shipper.note(`this task is ended after ${humanDuration(deadline - now)}: ${limit}`, now);
  }
  const record: Launch = {
    at: now,
    wall: epochOf(wallNow()),
    bootId: bootId(),
    attempt,
    mode,
    deadline,
    limit,
    limits: { memory: limits.memory, processes: limits.processes },
    ...(prepared.killGrace === undefined ? {} : { grace }),
    ...(prepared.stopsItself === undefined ? {} : { stopsItself: true }),
    ...(asRoot ? { asRoot } : {}),
    ...(prepared.exclusive === undefined ? {} : { exclusive: prepared.exclusive }),
    ...(mode === "unit" || ports.service === undefined ? {} : { service: ports.service }),
  };
  journal.launched(task.id, record);
  const failure = await launch({
    directory: runDirectory(ports.runs, task.id, attempt),
    taskId: task.id,
    attempt,
    mode,
    runner,
    script,
    hasReport: prepared.report === true,
    limits,
    outputLimit: settings.task_output_limit,
    view,
    openFiles: ports.openFiles,
    record: runRecord(task.id, task.type, record),
  });
  if (failure !== undefined) return { outcome: unrun("failed", `could not be started: ${failure}`) };
  const text = `${task.type} as ${runner.account.name}, limit ${humanDuration(deadline - now)}`;
  log.info("tasks", `${shortId(task.id)} started: ${text}`, { task_id: task.id });
  return followCommand(task, record, ports, context, signal);
}

/** Follows a launch to its end. Resolves as `launchCommand` does. */
export async function followCommand(
  task: TaskRecord,
  launched: Launch,
  { journal, kinds, held, outbox, disk, runners, settings }: DrivePorts,
  { stop, shipper, say, ended, leave }: WithSlot,
  signal: AbortSignal,
): Promise<EndedTask | undefined> {
  const directory = runDirectory(held.path(), task.id, launched.attempt);
  const spool = openSpool(directory);
  say("running");
  const over = (): void => {
    leave();
    ended();
  };
  try {
    const run = openRun(directory, task.id, launched);
    const grace = graceOf(launched, settings);
    const { account } = launched.asRoot === true ? runners.root : runners.task;
    const outcome = await follow(
      task.id,
      launched,
      {
        run,
        spool,
        shipper,
        outbox,
        stop,
        grace,
        disk,
        scheduled: () => scheduledNote(readSchedules(), account, launched.wall),
        ended: over,
      },
      signal,
    );
    if (outcome === undefined) return undefined;
    const { status, exitCode, text } = outcome;
    const finish = taskKindOf(kinds, task.type)?.finish;
    if (finish === undefined || status === "dropped") return { outcome };
    const end = { status, exitCode, text, ...(await readOutput(spool, directory)) };
    return withFinished(outcome, finish(end, journal.payload(task.id)));
  } finally {
    spool.close();
  }
}

/** Bytes of each stream that a kind reads. */
const STREAM_MAX = MIB;
/** Bytes of a report that a kind reads. */
const REPORT_MAX = 8 * MIB;

/** Reads what a kind sees of a command. Changes nothing: it may be repeated. */
async function readOutput(
  spool: Spool,
  directory: string,
): Promise<Pick<RunEnd, "stdout" | "stderr" | "report">> {
  const end = (stream: Stream): string => {
    const reader = spool.readerOf(stream);
    return decodeText(reader.read(Math.max(0, reader.length - STREAM_MAX), reader.length));
  };
  const file = join(directory, REPORT);
  const report = existsSync(file) ? await Bun.file(file).slice(0, REPORT_MAX).text() : undefined;
  return { stdout: end("stdout"), stderr: end("stderr"), report };
}
