// Drives one task from its phase in the journal to its end.
import { messageOf, AgentError } from "../lib/agent-error.ts";
import { steadyNow, wallNow } from "../lib/clock.ts";
import { shortId } from "../lib/text.ts";
import { SYSTEM_PATH } from "../platform/account.ts";
import type { Log } from "../platform/log.ts";
import { bootId } from "../platform/processes.ts";
import { ownService } from "../platform/service.ts";
import {
  type DriveContext,
  type DrivePorts,
  type EndedTask,
  type WithSlot,
  permissionsOf,
} from "./context.ts";
import type { Launch, TaskRecord } from "./journal.ts";
import type { FollowingAct, Prepared } from "./kinds/kind.ts";
import { OUTBOX_KIND } from "./output/shipping.ts";
import { summarise } from "./output/summary.ts";
import { prepareTask } from "./permission.ts";
import { markFinished } from "./recover.ts";
import { completionOf, unrun } from "./report.ts";
import { followCommand, launchCommand } from "./run/command.ts";
import { type RunSpan, openRun, runDirectory } from "./run/directory.ts";
import { openSpool } from "./run/spool.ts";
import { runWork } from "./run/work.ts";
import { acknowledgeStart } from "./start-ack.ts";
import { waitForRoom } from "./waits.ts";

/**
 * Resolves when the task is finished or dropped, or when `signal` aborted and the next process goes on with it. Its outcome
 * is in the outbox by then, if there is one.
 */
export async function drive(
  id: string,
  ports: DrivePorts,
  context: DriveContext,
  signal: AbortSignal,
): Promise<void> {
  const { journal, outbox, log } = ports;
  const task = (): TaskRecord => {
    const record = journal.find(id);
    if (record === undefined) throw new AgentError("tasks.unknown", `task ${id} is not in the journal`);
    return record;
  };
  if (task().phase === "claimed" && !(await acknowledgeStart(task(), ports, context, signal))) return;
  if (task().phase === "started" || task().phase === "launched") {
    const end = await run(task(), ports, context, signal);
    if (end === undefined) return;
    report(task(), end, ports, context);
  }
  context.say("reporting");
  // The server refuses the remaining entries of a task that it has ended: do not wait for them.
  if (context.stop.current()?.reason !== "server") await outbox.drained(id, signal);
  if (signal.aborted) return;
  const record = task();
  const { outcome, launch: launched } = record;
  // If this node still allows it: the delivery may have taken long. Read before the payload is deleted.
  const following = outcome?.afterwards === undefined ? undefined : prepareHere(record, ports);
  if (launched !== undefined) markFinished(runDirectory(ports.held.path(), id, launched.attempt));
  journal.finished(id, wallNow());
  log.info("tasks", `${shortId(id)} finished: ${outcome?.status ?? "unknown"}`, {
    task_id: id,
    exit_code: outcome?.exitCode ?? undefined,
    error: outcome?.text ?? undefined,
  });
  // After the journal says finished, so that it never runs twice: it ends this process, or the machine.
  if (following !== undefined) act(record, following, ports);
}

/** Runs a started task. Undefined when `signal` aborted: the next process goes on. */
async function run(
  task: TaskRecord,
  ports: DrivePorts,
  context: DriveContext,
  signal: AbortSignal,
): Promise<EndedTask | undefined> {
  const { launch: launched } = task;
  if (launched !== undefined && launched.mode !== "agent")
    return adopt(task, launched, ports, context, signal);
  const prepared = prepareHere(task, ports);
  if (prepared.do === "refuse") return refused(task, prepared.text, ports);
  if (prepared.do === "act") return announced(prepared);
  const leave = await waitForRoom(task, prepared, ports, context, signal);
  if (typeof leave !== "function") return leave && { outcome: leave };
  try {
    return await start(task, 1, ports, { ...context, leave }, signal);
  } finally {
    leave();
  }
}

/** Starts what the task does by what this node allows now: that may have changed while it waited. */
async function start(
  task: TaskRecord,
  attempt: number,
  ports: DrivePorts,
  context: WithSlot,
  signal: AbortSignal,
): Promise<EndedTask | undefined> {
  const prepared = prepareHere(task, ports);
  if (prepared.do === "refuse") return refused(task, prepared.text, ports);
  if (prepared.do === "act") return announced(prepared);
  if (prepared.do === "work") return runWork(task, prepared, ports, context, signal);
  return launchCommand(task, prepared, attempt, ports, context, signal);
}

function refused({ id }: TaskRecord, text: string, { log }: DrivePorts): EndedTask {
  log.warn("tasks", `${shortId(id)} not run: ${text}`, { task_id: id });
  return { outcome: unrun("failed", text) };
}

const announced = ({ text, command }: FollowingAct): EndedTask => ({
  outcome: { status: "success", exitCode: 0, text, afterwards: [...command] },
});

/** Decides what the task does, by what this node allows at this moment. */
function prepareHere({ id, type }: TaskRecord, ports: DrivePorts): Prepared {
  return prepareTask(type, ports.journal.payload(id), permissionsOf(ports, ownService()));
}

/** Follows a launch of an earlier process, or repeats one that never began. */
async function adopt(
  task: TaskRecord,
  launched: Launch,
  ports: DrivePorts,
  context: DriveContext,
  signal: AbortSignal,
): Promise<EndedTask | undefined> {
  const leaveSlot = ports.slots.occupy();
  const leaveTurn =
    launched.exclusive === undefined ? undefined : ports.turns.occupy(launched.exclusive, task.id);
  const leave = (): void => {
    leaveSlot();
    leaveTurn?.();
  };
  try {
    const found = openRun(runDirectory(ports.held.path(), task.id, launched.attempt), task.id, launched);
    const mayRepeat = launched.bootId === bootId() && context.stop.current() === undefined;
    if (mayRepeat && found.prevent())
      return await start(task, launched.attempt + 1, ports, { ...context, leave }, signal);
    ports.log.info("tasks", `${shortId(task.id)} resumed`, {
      task_id: task.id,
    });
    return await followCommand(task, launched, ports, { ...context, leave }, signal);
  } finally {
    leave();
  }
}

/** Puts the completion into the outbox, behind the last row; nothing when the server has ended the task. */
function report(
  task: TaskRecord,
  { outcome, finished = {} }: EndedTask,
  { api, journal, outbox, held }: DrivePorts,
  { stop }: DriveContext,
): void {
  const runs = held.path();
  const { ended, duration } = spanOf(task, runs);
  const end = { at: api.serverClock.at(ended), duration };
  const output = finished.output ?? outputOf(task, runs);
  const completion = completionOf(task, outcome, { output, result: finished.result }, end);
  journal.atomically(() => {
    if (stop.current()?.reason !== "server") outbox.push(task.id, OUTBOX_KIND.completed, completion);
    journal.reported(task.id, outcome);
  });
}

/** The times that the wrapper measured; until now, if it was killed. The duration is unknown after a reboot. */
function spanOf(task: TaskRecord, runs: string): RunSpan {
  const { launch: launched } = task;
  const now = steadyNow();
  if (launched === undefined) return { ended: now, duration: undefined };
  const known = openRun(runDirectory(runs, task.id, launched.attempt), task.id, launched).span();
  const sinceLaunch = launched.bootId === bootId() ? now - launched.at : undefined;
  return { ended: known?.ended ?? now, duration: known === undefined ? sinceLaunch : known.duration };
}

function outputOf(task: TaskRecord, runs: string): string {
  if (task.launch === undefined) return "";
  const spool = openSpool(runDirectory(runs, task.id, task.launch.attempt));
  try {
    spool.observe(true, steadyNow());
    return summarise(spool.reader(), task.id);
  } finally {
    spool.close();
  }
}

/** Does what follows the completion. */
function act(task: TaskRecord, following: Prepared, { log }: DrivePorts): void {
  if (following.do === "act") runAct(following.command, log);
  else if (following.do === "refuse")
    log.error("tasks", `${shortId(task.id)} not done: ${following.text}`, { task_id: task.id });
}

function runAct(command: readonly string[], log: Log): void {
  const text = command.join(" ");
  log.warn("tasks", `now: ${text}`);
  try {
    const child = Bun.spawn([...command], {
      env: { PATH: SYSTEM_PATH },
      stdio: ["ignore", "ignore", "ignore"],
      detached: true,
    });
    child.unref();
    void child.exited.then((code) => {
      if (code !== 0) log.error("tasks", `${text} failed with exit code ${code}: nothing happened`);
    });
  } catch (error) {
    log.error("tasks", `${text} failed: ${messageOf(error)}`);
  }
}
