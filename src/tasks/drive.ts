// Drives one task from its phase in the journal to its end.
import { shortId } from "../lib/text.ts";
import { type SteadyTime, epochOf, steadyNow, wallNow } from "../lib/clock.ts";
import { abortScope } from "../lib/abort-scope.ts";
import { AgentError, messageOf } from "../lib/agent-error.ts";
import { type Duration, formatDuration, humanDuration, seconds } from "../lib/duration.ts";
import type { Slots } from "../lib/slots.ts";
import type { Settings } from "../config/options.ts";
import type { TaskApi } from "../control/noderax-api.ts";
import type { Outbox } from "../control/outbox.ts";
import type { RootAccess } from "../identity/root-access.ts";
import { type Runner, SYSTEM_PATH } from "../platform/account.ts";
import type { DiskReserve } from "../platform/disk-reserve.ts";
import type { View } from "../platform/isolation.ts";
import type { HeldDirectory } from "../platform/private-directory.ts";
import type { ServiceRun } from "../platform/service.ts";
import type { Log } from "../platform/log.ts";
import { bootId } from "../platform/processes.ts";
import { ownService, rebootRefusal } from "../platform/service.ts";
import { RUNNING_LIMIT } from "../protocol/noderax/limits.ts";
import { follow } from "./run/follow.ts";
import { acknowledgeStart } from "./start-ack.ts";
import type { Journal, Launch, TaskOutcome, TaskRecord } from "./journal.ts";
import type { Prepared, RunCommand } from "./kinds/kind.ts";
import { summarise } from "./output/summary.ts";
import { environmentOf, prepareRun } from "./run/prepare.ts";
import { markFinished, runRecord } from "./recover.ts";
import { completionOf, unrun } from "./report.ts";
import { type RunSpan, launch, launchMode, openRun, runDirectory } from "./run/directory.ts";
import { OUTBOX_KIND, type createShipper } from "./output/shipping.ts";
import { openSpool } from "./run/spool.ts";
import type { StopRequest } from "./run/stop.ts";

export interface DrivePorts {
  readonly journal: Journal;
  readonly outbox: Outbox;
  readonly api: TaskApi;
  readonly slots: Slots;
  readonly rootAccess: RootAccess;
  readonly log: Log;
  readonly disk: DiskReserve;
  /** The agent's service, where its stop ends the tasks that have no unit of their own. */
  readonly service: ServiceRun | undefined;
  /** Parent of the run directories. */
  readonly runs: string;
  /** The same directory, held open, so that nobody can exchange what the agent reads in it. */
  readonly held: HeldDirectory;
  /** The accounts of unprivileged commands and of root commands. */
  readonly runners: { readonly task: Runner; readonly root: Runner };
  /** Whether a command sees the processes of others. */
  readonly view: (asRoot: boolean) => Promise<View>;
  /** The soft limit of open files for commands. */
  readonly openFiles: number | undefined;
  readonly settings: Pick<Settings, "task_timeout" | "task_kill_grace" | "task_output_limit">;
}

/** The parts that belong to the one task. */
export interface DriveContext {
  readonly stop: StopRequest;
  readonly shipper: ReturnType<typeof createShipper>;
  /** Sets the status message of the task, for `status`. */
  readonly say: (note: string) => void;
  /** Called when the command has ended: its report is still to be delivered. */
  readonly ended: () => void;
}

/** A task that has a slot; `leave` frees it. */
interface WithSlot extends DriveContext {
  readonly leave: () => void;
}

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
    const outcome = await run(task(), ports, context, signal);
    if (outcome === undefined) return;
    report(task(), outcome, ports, context);
  }
  context.say("reporting");
  // The server refuses the remaining entries of a task that it has ended: do not wait for them.
  if (context.stop.current()?.reason !== "server") await outbox.drained(id, signal);
  if (signal.aborted) return;
  const { outcome, launch: launched } = task();
  if (launched !== undefined) markFinished(runDirectory(ports.held.path(), id, launched.attempt));
  journal.finished(id, wallNow());
  log.info("tasks", `${shortId(id)} finished: ${outcome?.status ?? "unknown"}`, {
    task_id: id,
    exit_code: outcome?.exitCode ?? undefined,
    error: outcome?.text ?? undefined,
  });
  // After the journal says finished, so that it never runs twice: it ends this process, or the machine.
  if (outcome?.afterwards !== undefined) actAfterwards(outcome.afterwards, log);
}

/** Runs the command of a started task. Undefined when `signal` aborted: the next process goes on. */
async function run(
  task: TaskRecord,
  ports: DrivePorts,
  context: DriveContext,
  signal: AbortSignal,
): Promise<TaskOutcome | undefined> {
  const { slots, settings } = ports;
  if (task.launch !== undefined) return adopt(task, task.launch, ports, context, signal);
  const prepared = prepareHere(task, ports);
  if (prepared.do === "reject") return unrun("failed", prepared.text);
  if (prepared.do === "afterwards") {
    return { status: "success", exitCode: 0, text: prepared.text, afterwards: [...prepared.command] };
  }
  const leave = await waitForSlot(task, slots, context, settings.task_kill_grace, signal);
  if (typeof leave !== "function") return leave;
  try {
    return await launchAndFollow(task, prepared, 1, ports, { ...context, leave }, signal);
  } finally {
    leave();
  }
}

/** Decides what the task runs, by what this node allows at this moment. */
function prepareHere({ type, payload }: TaskRecord, { rootAccess, settings }: DrivePorts): Prepared {
  return prepareRun(type, payload, {
    rootProfile: rootAccess.profile(),
    rootRefusal: (surface) => rootAccess.refusal(surface),
    defaultTimeout: settings.task_timeout,
    ownService: ownService(),
    rebootRefusal: rebootRefusal(),
  });
}

/** Resolves with the release of a slot, with an outcome when the wait was ended, or with undefined when `signal` aborted. */
async function waitForSlot(
  task: TaskRecord,
  slots: Slots,
  { stop, shipper, say }: DriveContext,
  grace: Duration,
  signal: AbortSignal,
): Promise<(() => void) | TaskOutcome | undefined> {
  const limit = serverLimit(task, grace) - steadyNow();
  if (slots.inUse() >= slots.size) {
    const text = `waiting for a free slot: ${slots.size} tasks run already (max_parallel_tasks)`;
    shipper.note(text, steadyNow());
    say(text);
  }
  using waiting = abortScope([signal, stop.signal], Math.max(0, limit));
  const leave = await slots.take(waiting.signal);
  if (leave !== undefined) return leave;
  if (signal.aborted) return undefined;
  const reason = stop.current();
  if (reason === undefined)
    return unrun("timeout", `no slot became free within ${humanDuration(limit)} (max_parallel_tasks)`);
  return unrun(reason.reason === "cancel" ? "cancelled" : "failed", reason.text);
}

/** 20 s and the grace before the server's own limit, so that the end can still be reported; steady clock. */
const serverLimit = (task: TaskRecord, grace: Duration): number =>
  (task.started ?? task.claimed) + RUNNING_LIMIT - grace - seconds(20);

/** Returns the time at which the command is ended, and the limit in words. */
function limitOf(
  task: TaskRecord,
  prepared: RunCommand,
  grace: Duration,
  now: SteadyTime,
): { deadline: SteadyTime; limit: string } {
  const own = now + prepared.timeout;
  const servers = serverLimit(task, grace);
  if (own <= servers) return { deadline: own, limit: `the limit is ${formatDuration(prepared.timeout)}` };
  return {
    deadline: servers,
    limit: `the control plane ends every task after ${humanDuration(RUNNING_LIMIT)}`,
  };
}

async function launchAndFollow(
  task: TaskRecord,
  prepared: RunCommand,
  attempt: number,
  ports: DrivePorts,
  context: WithSlot,
  signal: AbortSignal,
): Promise<TaskOutcome | undefined> {
  const { journal, runners, settings, disk, log } = ports;
  disk.look();
  const shortage = disk.shortage();
  if (shortage !== undefined) return unrun("failed", `not run: ${shortage}`);
  const runner = prepared.asRoot ? runners.root : runners.task;
  const view = await ports.view(prepared.asRoot);
  const now = steadyNow();
  const { deadline, limit } = limitOf(task, prepared, settings.task_kill_grace, now);
  if (deadline < now + prepared.timeout) {
    context.shipper.note(`this task is ended after ${humanDuration(deadline - now)}: ${limit}`, now);
  }
  const mode = launchMode();
  const record: Launch = {
    at: now,
    wall: epochOf(wallNow()),
    bootId: bootId(),
    attempt,
    mode,
    deadline,
    limit,
    ...(mode === "unit" || ports.service === undefined ? {} : { service: ports.service }),
  };
  journal.launched(task.id, record);
  const failure = await launch({
    directory: runDirectory(ports.runs, task.id, attempt),
    taskId: task.id,
    attempt,
    mode,
    runner,
    script: { ...prepared, environment: environmentOf(prepared, runner.account, task.id) },
    outputLimit: settings.task_output_limit,
    view,
    openFiles: ports.openFiles,
    record: runRecord(task.id, task.type, record),
  });
  if (failure !== undefined) return unrun("failed", `could not be started: ${failure}`);
  const text = `${task.type} as ${runner.account.name}, limit ${humanDuration(deadline - now)}`;
  log.info("tasks", `${shortId(task.id)} started: ${text}`, { task_id: task.id });
  return followLaunch(task, record, ports, context, signal);
}

/** Follows a launch of an earlier process, or repeats one that never began. */
async function adopt(
  task: TaskRecord,
  launched: Launch,
  ports: DrivePorts,
  context: DriveContext,
  signal: AbortSignal,
): Promise<TaskOutcome | undefined> {
  const leave = ports.slots.occupy();
  try {
    const found = openRun(runDirectory(ports.held.path(), task.id, launched.attempt), task.id, launched);
    const mayRepeat = launched.bootId === bootId() && context.stop.current() === undefined;
    if (mayRepeat && found.prevent()) {
      const prepared = prepareHere(task, ports);
      if (prepared.do !== "run") return unrun("failed", prepared.text);
      return await launchAndFollow(
        task,
        prepared,
        launched.attempt + 1,
        ports,
        { ...context, leave },
        signal,
      );
    }
    ports.log.info("tasks", `${shortId(task.id)} resumed`, {
      task_id: task.id,
    });
    return await followLaunch(task, launched, ports, { ...context, leave }, signal);
  } finally {
    leave();
  }
}

async function followLaunch(
  task: TaskRecord,
  launched: Launch,
  { held, outbox, disk, settings }: DrivePorts,
  { stop, shipper, say, ended, leave }: WithSlot,
  signal: AbortSignal,
): Promise<TaskOutcome | undefined> {
  const directory = runDirectory(held.path(), task.id, launched.attempt);
  const spool = openSpool(directory);
  say("running");
  const over = (): void => {
    leave();
    ended();
  };
  try {
    const run = openRun(directory, task.id, launched);
    return await follow(
      task.id,
      launched,
      { run, spool, shipper, outbox, stop, grace: settings.task_kill_grace, disk, ended: over },
      signal,
    );
  } finally {
    spool.close();
  }
}

/** Puts the completion into the outbox, behind the last row; nothing when the server has ended the task. */
function report(
  task: TaskRecord,
  outcome: TaskOutcome,
  { api, journal, outbox, held }: DrivePorts,
  { stop }: DriveContext,
): void {
  const runs = held.path();
  const { ended, duration } = spanOf(task, runs);
  const end = { at: api.serverClock.at(ended), duration };
  const completion = completionOf(task, outcome, outputOf(task, runs), end);
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

function actAfterwards(command: readonly string[], log: Log): void {
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
