// Reads the run directory of one attempt to run a task: the files that its wrapper writes, and the processes of the command.
import { linkSync, mkdirSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type SteadyTime, parseUptime, steadyOf, wallFrom } from "../../lib/clock.ts";
import type { Duration } from "../../lib/duration.ts";
import { KIB } from "../../lib/size.ts";
import { readText, textIn } from "../../platform/lenient-reads.ts";
import { processesOf } from "../../platform/process-table.ts";
import {
  type ProcessId,
  bootId,
  childrenOf,
  holdersOf,
  identify,
  isAlive,
  processName,
  parentOf,
  parseProcessStat,
} from "../../platform/processes.ts";
import { limitHit } from "../../platform/task-limits.ts";
import type { Launch } from "../journal.ts";

/** Content of `began` when the agent created it, so that the wrapper does not begin. */
const PREVENTED = "prevented\n";
/** What the command wrote to descriptor 4. */
export const REPORT = "report";
/** The environment marker of every task, by which processes that left its session are found. */
export const TASK_VARIABLE = "TASK_ID";
/** Bytes of output that are kept even on a full disk: more than most commands write. */
const LITTLE = 64 * KIB;

/** The systemd unit of one attempt to run a task. */
export const unitOf = (taskId: string, attempt: number): string =>
  `noderax-task-${taskId}-${attempt}.service`;

/** The directory of a task's run; a repeated launch gets a new one. */
export const runDirectory = (root: string, taskId: string, attempt: number): string =>
  join(root, attempt === 1 ? taskId : `${taskId}.${attempt}`);

/** What the wrapper has reported so far, in its files. */
export interface Run {
  /**
   * Prevents the wrapper from beginning. False when it has begun already. Agent and wrapper create the same file
   * exclusively, so exactly one succeeds, also when either crashes.
   */
  prevent(): boolean;
  hasBegun(): boolean;
  /** The exit status of the command, once there is one. */
  exitCode(): number | undefined;
  /** The limit that the command hit, in words; undefined when none is known. */
  limitHit(): string | undefined;
  /** When the command ended and how long it ran, as the wrapper measured it; undefined until it has an exit status. */
  span(): RunSpan | undefined;
  /** True while the wrapper lives; undefined when it has not reported its pid yet. */
  wrapperAlive(): boolean | undefined;
  /** The processes of the command, without wrapper, output copiers, and the init of their namespace, which ends with them. */
  members(): number[];
  /** The program itself, without what it has started; none before it runs and after its end. */
  program(): number[];
  /** Whether a stop signals the program alone. */
  readonly stopsItself: boolean;
  /** True while an output copier still waits for output. */
  copying(): boolean;
  /** "pid 4711 (sleep)" for each process that keeps the output open. */
  outputHolders(): string[];
  /** From now on, output of a stream above 64 KiB is counted, not kept. True when there is such a stream. */
  stopKeeping(): boolean;
}

/** Opens the run directory of a task that was launched. Reads nothing yet. */
export function openRun(directory: string, taskId: string, launched: Launch): Run {
  const marker = `${TASK_VARIABLE}=${taskId}`;
  const unit = launched.mode === "unit" ? unitOf(taskId, launched.attempt) : undefined;
  let session: RunSession | undefined;
  const known = (): RunSession | undefined => (session ??= readSession(join(directory, "session")));

  function members(): number[] {
    const { wrapper, init, copiers } = known() ?? { wrapper: undefined, init: undefined, copiers: [] };
    const copying = new Set(copiers.map(({ pid }) => pid));
    const own = new Set([process.pid, wrapper?.pid, init?.pid, ...copying]);
    const processes = processesOf({ leader: wrapper, marker, unit, init });
    // An output copier is a shell with a `cat` or `wc` of its own; they end with the output, not with the command.
    return processes.filter((pid) => !own.has(pid) && !copying.has(parentOf(pid) ?? -1));
  }

  const exit = join(directory, "exit");
  return {
    prevent: () => preventRun(directory),
    hasBegun: () => ![undefined, PREVENTED].includes(readText(join(directory, "began"))),
    exitCode: () => readExit(exit)?.code,
    limitHit() {
      // Outside of a unit the counts are those of a group that the command shares with others.
      if (launched.mode !== "unit" || launched.limits === undefined) return undefined;
      return limitHit(textIn(join(directory, "hits")), launched.limits);
    },
    span() {
      const end = readExit(exit);
      if (end === undefined) return undefined;
      const began = known()?.began;
      const duration = began === undefined || end.at === undefined ? undefined : end.at - began;
      const sameBoot = launched.bootId === bootId();
      const ended = sameBoot && end.at !== undefined ? end.at : steadyOf(wallFrom(statSync(exit).mtimeMs));
      return { ended, duration };
    },
    wrapperAlive() {
      const wrapper = known()?.wrapper;
      return wrapper && isAlive(wrapper);
    },
    members,
    program() {
      const wrapper = known()?.wrapper.pid;
      return wrapper === undefined ? [] : members().filter((pid) => parentOf(pid) === wrapper);
    },
    stopsItself: launched.stopsItself === true,
    copying: () => (known()?.copiers ?? []).some(isAlive),
    outputHolders() {
      const place = realpathSync(directory);
      const pipes = ["stdout.pipe", "stderr.pipe"].map((name) => join(place, name));
      const all = members();
      return [...new Set(pipes.flatMap((pipe) => holdersOf(pipe, all)))].map(
        (pid) => `pid ${pid} (${processName(pid)})`,
      );
    },
    stopKeeping() {
      const large = (known()?.copiers ?? []).filter(({ log }) => sizeOf(join(directory, log)) > LITTLE);
      const cats = large.flatMap(({ pid }) => childrenOf(pid)).filter((pid) => processName(pid) === "cat");
      // SIGKILL, since `cat` ignores the signals that a command may send; its copier goes on with `wc`.
      for (const pid of cats) process.kill(pid, "SIGKILL");
      return large.length > 0;
    },
  };
}

/** Prevents the wrapper in a run directory from beginning. False when it has begun already. */
export function preventRun(directory: string): boolean {
  const began = join(directory, "began");
  if (readText(began) === PREVENTED) return true;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    // Linked with its content: after a crash of the agent it must not look like that of a wrapper.
    const mark = `${began}.${process.pid}`;
    writeFileSync(mark, PREVENTED, { mode: 0o600 });
    try {
      linkSync(mark, began);
    } finally {
      rmSync(mark);
    }
    rmSync(join(directory, "command.sh"), { force: true });
    return true;
  } catch {
    return false;
  }
}

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** When a command ended, and how long it ran; undefined when unknown. */
export interface RunSpan {
  readonly ended: SteadyTime;
  readonly duration: Duration | undefined;
}

/** Reads "<exit status> <uptime> ok" before the reserved filling; undefined until it is complete. */
function readExit(path: string): { code: number; at: SteadyTime | undefined } | undefined {
  const [, code, up] = /^(\d+) (\S*) ok\n/.exec(textIn(path)) ?? [];
  return code === undefined ? undefined : { code: Number(code), at: parseUptime(up ?? "") };
}

interface OutputCopier extends ProcessId {
  /** The file it writes. */
  readonly log: string;
}

interface RunSession {
  readonly wrapper: ProcessId;
  /** Of the namespace of a private view. */
  readonly init: ProcessId | undefined;
  readonly copiers: readonly OutputCopier[];
  readonly began: SteadyTime | undefined;
}

/** Undefined until the file is complete. One of an earlier version has neither the init nor the time. */
function readSession(path: string): RunSession | undefined {
  const [, stat = "", init = "", out, err, up = ""] =
    /^(.+)\n(?:(.*)\n)?(\d+) (\d+) (?:(\S*) )?ok\n$/.exec(textIn(path)) ?? [];
  const wrapper = processOf(stat);
  if (wrapper === undefined) return undefined;
  // A copier that has ended already is not identified, and counts as dead.
  const copiers = [
    { log: "stdout.log", id: identify(Number(out)) },
    { log: "stderr.log", id: identify(Number(err)) },
  ].flatMap(({ log, id }) => (id === undefined ? [] : [{ ...id, log }]));
  return { wrapper, init: processOf(init), copiers, began: parseUptime(up) };
}

/** Parses a line of /proc/<pid>/stat; undefined for anything else. */
function processOf(stat: string): ProcessId | undefined {
  const startTime = parseProcessStat(stat)?.startTime;
  return startTime === undefined ? undefined : { pid: Number.parseInt(stat, 10), startTime };
}
