// Runs the work of a task inside the agent, and follows it as a command is followed: log rows, time limit, cancelling.
import { appendFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { abortScope } from "../../lib/abort-scope.ts";
import { messageOf } from "../../lib/agent-error.ts";
import { epochOf, steadyNow, wallNow } from "../../lib/clock.ts";
import { shortId } from "../../lib/text.ts";
import { makePrivateDirectory } from "../../platform/private-directory.ts";
import { bootId } from "../../platform/processes.ts";
import { type DrivePorts, type EndedTask, type WithSlot, graceOf, withFinished } from "../context.ts";
import type { Launch, TaskRecord } from "../journal.ts";
import type { Finished, InnerWork } from "../kinds/kind.ts";
import { runRecord } from "../recover.ts";
import { unrun } from "../report.ts";
import { limitOf } from "../time-limit.ts";
import { type Run, runDirectory } from "./directory.ts";
import { follow } from "./follow.ts";
import { openSpool } from "./spool.ts";

/** Work that the agent did not survive so often is given up: it may be what ends the agent. */
const REPEATS_MAX = 2;

/** Resolves with the end of the task; with undefined when `signal` aborted: the next process begins again, or reports it. */
export async function runWork(
  task: TaskRecord,
  prepared: InnerWork,
  ports: DrivePorts,
  context: WithSlot,
  signal: AbortSignal,
): Promise<EndedTask | undefined> {
  const { journal, settings, outbox, disk, held } = ports;
  const { stop, shipper, ended, leave } = context;
  const repeats = task.launch === undefined ? 0 : (task.launch.repeats ?? 0) + 1;
  if (repeats > 0 && !prepared.repeatable)
    return { outcome: unrun("failed", "the agent ended while it did this; whether it was done is unknown") };
  if (repeats > REPEATS_MAX)
    return { outcome: unrun("failed", `not done: the agent ended ${repeats} times while it did this`) };
  const now = steadyNow();
  const record: Launch = {
    at: now,
    wall: epochOf(wallNow()),
    bootId: bootId(),
    attempt: 1,
    mode: "agent",
    ...limitOf(task, prepared.timeout, settings.task_kill_grace, now),
    ...(prepared.exclusive === undefined ? {} : { exclusive: prepared.exclusive }),
    ...(repeats === 0 ? {} : { repeats }),
  };
  journal.launched(task.id, record);
  ports.log.info("tasks", `${shortId(task.id)} started: ${task.type} in the agent`, { task_id: task.id });
  context.say("running");
  const directory = runDirectory(held.path(), task.id, record.attempt);
  const log = createWorkLog(directory, runRecord(task.id, task.type, record), settings.task_output_limit);
  if (repeats > 0) log("… begun again: the agent was restarted");
  using over = abortScope([signal, stop.signal]);
  const work = startWork(prepared, { signal: over.signal, log });
  const spool = openSpool(directory);
  const done = (): void => {
    leave();
    ended();
  };
  try {
    const outcome = await follow(
      task.id,
      record,
      { run: work, spool, shipper, outbox, stop, grace: graceOf(record, settings), disk, ended: done },
      signal,
    );
    if (outcome === undefined) return undefined;
    const exitCode = outcome.status === "success" ? 0 : null;
    return withFinished({ ...outcome, exitCode }, work.finished(outcome.status === "failed"));
  } finally {
    over.abort();
    spool.close();
  }
}

/** Work that is followed like a run directory: it has an exit code when it is over. */
interface WorkRun extends Run {
  /** What it said at its end. The message of an error counts only when that is why the task failed. */
  finished(failed: boolean): Finished;
}

function startWork(prepared: InnerWork, ports: Parameters<InnerWork["run"]>[0]): WorkRun {
  let end: { readonly finished: Finished } | { readonly error: string } | undefined;
  void (async () => prepared.run(ports))().then(
    (finished) => (end = { finished }),
    (error: unknown) => (end = { error: messageOf(error) }),
  );
  return {
    prevent: () => false,
    hasBegun: () => true,
    limitHit: () => undefined,
    exitCode: () => (end === undefined ? undefined : "error" in end ? 1 : 0),
    span: () => undefined,
    wrapperAlive: () => end === undefined,
    members: () => [],
    program: () => [],
    stopsItself: false,
    copying: () => false,
    outputHolders: () => [],
    stopKeeping: () => false,
    finished(failed) {
      if (end === undefined) return {};
      if ("finished" in end) return end.finished;
      return failed ? { error: end.error } : {};
    },
  };
}

/** Returns a function that adds a line to stdout.log. Makes the run directory with the first line: most work writes none. */
function createWorkLog(
  directory: string,
  record: { readonly name: string; readonly text: string },
  limit: number,
): (line: string) => void {
  let left = limit;
  return (line) => {
    if (!existsSync(directory)) {
      using made = makePrivateDirectory(directory);
      made.write(record.name, record.text);
    }
    const bytes = Buffer.from(`${line}\n`);
    if (left > 0) appendFileSync(join(directory, "stdout.log"), bytes.subarray(0, left), { mode: 0o600 });
    left -= bytes.length;
  };
}
