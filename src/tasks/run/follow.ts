// Follows a launched command to its end: sends its output, enforces its limit, and determines its outcome.
import { abortScope } from "../../lib/abort-scope.ts";
import { type SteadyTime, steadyNow } from "../../lib/clock.ts";
import { type Duration, milliseconds, seconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";
import type { Outbox } from "../../control/outbox.ts";
import type { DiskReserve } from "../../platform/disk-reserve.ts";
import { bootId } from "../../platform/processes.ts";
import type { Launch, TaskOutcome, Stop } from "../journal.ts";
import { STREAMS } from "../output/rows.ts";
import { outcomeOf, timeoutText, unrun } from "../report.ts";
import type { Run } from "./directory.ts";
import type { createShipper } from "../output/shipping.ts";
import type { Spool } from "./spool.ts";
import { type StopRequest, endRun } from "./stop.ts";

/** Wait after the command's end for the output copiers to read the rest. */
const DRAIN = seconds(2);
/** Wait for the first report of the wrapper: milliseconds as a rule, but systemd is slow on a loaded machine. */
const BEGIN_WITHIN = seconds(30);

export interface FollowPorts {
  readonly run: Run;
  readonly spool: Spool;
  readonly shipper: ReturnType<typeof createShipper>;
  readonly outbox: Outbox;
  readonly stop: StopRequest;
  readonly grace: Duration;
  readonly disk: DiskReserve;
  /** What a stopped command may have left to cron and at, for people; undefined when nothing is known. Commands only. */
  readonly scheduled?: () => string | undefined;
  /** Called when the command has ended: its slot is free, even while its last rows wait for the server. */
  readonly ended: () => void;
}

/** 128 + SIGTERM, which a machine that shuts down sends to everything. */
const ENDED_BY_SIGTERM = 143;

/** Polls often at first, since most commands are short; later, rows are sent at most once a second. */
const pollEvery = (age: Duration): Duration =>
  milliseconds(age < seconds(2) ? 15 : age < seconds(20) ? 100 : 250);

/** Resolves with the outcome when all rows are in the outbox; with undefined when `signal` aborted before. */
export async function follow(
  taskId: string,
  launched: Launch,
  ports: FollowPorts,
  signal: AbortSignal,
): Promise<TaskOutcome | undefined> {
  const { run, spool, shipper, outbox, stop } = ports;
  shipper.follow(spool, launched.at);
  const outcome = await untilEnd(taskId, launched, ports, signal);
  if (outcome === undefined) return undefined;
  const rebooted = isRebooted(launched);
  if (!rebooted) await drain(run, signal);
  ports.ended();
  spool.observe(true, steadyNow());
  while (!signal.aborted) {
    if (stop.current()?.reason === "server") return outcome;
    if (shipper.ship(true, steadyNow())) break;
    await outbox.drained(taskId, signal);
  }
  if (signal.aborted) return undefined;
  const left = stop.current() === undefined ? undefined : ports.scheduled?.();
  const notes = rebooted ? [] : [...closingNotes(run, spool), ...(left === undefined ? [] : [left])];
  for (const text of notes) shipper.note(text, steadyNow());
  return outcome;
}

async function untilEnd(
  taskId: string,
  launched: Launch,
  ports: FollowPorts,
  signal: AbortSignal,
): Promise<TaskOutcome | undefined> {
  const { run, spool, shipper, outbox, stop, grace, disk } = ports;
  let ending: Promise<void> | undefined;
  /** Whether the command could be ended; undefined while there was no attempt, or it goes on. */
  let ended: boolean | undefined;
  let isCutReported = false;
  using stopped = abortScope([signal, stop.signal]);
  while (!signal.aborted) {
    const now = steadyNow();
    // First: on a full disk, none of the following writes succeed.
    disk.watch();
    const shortage = disk.shortage();
    const isCut = shortage !== undefined && run.stopKeeping();
    spool.observe(false, now);
    if (isCut && !isCutReported)
      shipper.note(`${shortage}; of what this command writes, the rest is not kept`, now);
    isCutReported ||= isCut;
    if (stop.current()?.reason !== "server") shipper.ship(false, now);
    // Not for a command that ended while the agent was down: it ended by itself.
    if (now >= launched.deadline && run.exitCode() === undefined && !isRebooted(launched))
      stop.request("timeout", timeoutText(launched.limit, now - launched.at));
    const isUnsupervised = run.wrapperAlive() === false && run.exitCode() === undefined;
    if ((isUnsupervised || stop.current() !== undefined) && !isRebooted(launched)) {
      ending ??= endRun(run, grace)
        .catch(() => false) // For example no descriptor left to read /proc.
        .then((all) => void (ended = all));
    }
    const outcome = outcomeNow(run, launched, stop.current(), ended, now);
    if (outcome !== undefined) {
      await ending;
      return outcome;
    }
    // A stop request ends the pause at once; after it, polls go on at their pace.
    const wake = stop.current() === undefined ? stopped.signal : signal;
    const pause = pollEvery(now - launched.at);
    if (outbox.isEmpty(taskId)) await sleep(pause, wake);
    // The next row may follow as soon as this one is delivered.
    else await outbox.drained(taskId, wake, pause);
  }
  return undefined;
}

/** 128 + SIGKILL or SIGTERM, by which systemd ends the processes of a service. */
const KILLED = [137, ENDED_BY_SIGTERM];

/** Explains why a command was killed from outside, as far as known. `invocation` is that of the agent's service now. */
export function killedText({ service }: Pick<Launch, "service">, invocation: string | undefined): string {
  if (service === undefined) return "the command's supervisor was killed from outside (out of memory?)";
  const cure = "run the agent as root, or set KillMode=process in its unit";
  return service.invocation === (invocation ?? "")
    ? `killed from outside: by a stop or restart of ${service.name}, which ends its tasks too (${cure}), or out of memory`
    : `killed by a stop or restart of ${service.name}, which ends its tasks too (${cure})`;
}

/** After a reboot, the process ids in the run directory belong to other processes: none is read or ended. */
const isRebooted = ({ bootId: then }: Launch): boolean => then !== bootId();

/** Returns the outcome of the run; undefined while it goes on. */
function outcomeNow(
  run: Run,
  launched: Launch,
  stop: Stop | undefined,
  ended: boolean | undefined,
  now: SteadyTime,
): TaskOutcome | undefined {
  const alive = run.wrapperAlive();
  // Read after `wrapperAlive`: the wrapper may end in between, and writes this last.
  const exitCode = run.exitCode();
  const isEndedByReboot = isRebooted(launched) && (exitCode === undefined || exitCode === ENDED_BY_SIGTERM);
  if (isEndedByReboot) return unrun("failed", "interrupted by reboot");
  if (exitCode !== undefined) {
    const wasKilled = launched.service !== undefined && stop === undefined && KILLED.includes(exitCode);
    return wasKilled
      ? { ...unrun("failed", killedText(launched, process.env["INVOCATION_ID"])), exitCode }
      : named(outcomeOf(exitCode, stop), run.limitHit());
  }
  if (ended === false) return leftRunning(run, stop);
  // Without its supervisor the command has no limit and no exit code: it is ended before this is reported.
  if (alive === false && ended === true)
    return unended(
      stop,
      `${killedText(launched, process.env["INVOCATION_ID"])}; what was left of the command was ended, its exit code is unknown`,
    );
  if (alive === undefined && stop !== undefined && run.prevent()) return unended(stop, "not started");
  if (alive === undefined && now - launched.at > BEGIN_WITHIN) {
    return unended(
      stop,
      run.prevent()
        ? "could not be started: the wrapper did not report within 30s"
        : "the command's supervisor died at once",
    );
  }
  return undefined;
}

/** Returns the outcome with the limit that the command hit, if it failed. A limit that it got over is not its error. */
function named(outcome: TaskOutcome, limit: string | undefined): TaskOutcome {
  if (outcome.status !== "failed" || limit === undefined) return outcome;
  return { ...outcome, text: `${limit}; ${outcome.text}` };
}

/** A command that could not be ended, or one that stops by itself and takes longer than its grace. */
function leftRunning(run: Run, stop: Stop | undefined): TaskOutcome {
  const pids = run.members().map((pid) => `pid ${pid}`);
  if (!run.stopsItself || stop === undefined) return unended(stop, `could not be ended: ${pids.join(", ")}`);
  const text = `${stop.text}; it has not stopped by itself and was left to finish (${pids.join(", ")})`;
  return unended({ ...stop, text }, text);
}

/** Returns the outcome of an end without an exit code: with the status of the stop request, if there is one. */
function unended(stop: Stop | undefined, text: string): TaskOutcome {
  if (stop?.reason === "cancel") return unrun("cancelled", stop.text);
  if (stop?.reason === "timeout") return unrun("timeout", stop.text);
  return unrun("failed", text);
}

async function drain(run: Run, signal: AbortSignal): Promise<void> {
  for (const end = steadyNow() + DRAIN; !signal.aborted && run.copying() && steadyNow() < end;)
    await sleep(milliseconds(5), signal);
}

function closingNotes(run: Run, spool: Spool): string[] {
  const notes: string[] = [];
  if (run.copying()) {
    const holders = run.outputHolders();
    const who = holders.length === 0 ? "a background process" : holders.slice(0, 5).join(", ");
    notes.push(`output still held open by ${who}; what it writes from now on is only kept on the node`);
  }
  const discarded = spool.discarded();
  for (const stream of STREAMS) {
    const lost = discarded[stream];
    if (lost === undefined) notes.push(`a part of ${stream} was not kept: the disk of this node is full`);
    else if (lost > 0)
      notes.push(
        `${lost} bytes or a little more of ${stream} were not kept: task_output_limit, or a full disk`,
      );
  }
  return notes;
}
