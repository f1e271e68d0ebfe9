// One attempt at running a task: its run directory, the wrapper in it, and what can be learnt from it afterwards.
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { KIB } from "../../lib/size.ts";
import { messageOf } from "../../lib/agent-error.ts";
import { type SteadyTime, parseUptime, steadyOf, wallFrom } from "../../lib/clock.ts";
import type { Duration } from "../../lib/duration.ts";
import { type Runner, SYSTEM_PATH } from "../../platform/account.ts";
import { processesOf } from "../../platform/process-table.ts";
import { type View, confined, supervised } from "../../platform/isolation.ts";
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
import { makePrivateDirectory } from "../../platform/private-directory.ts";
import {
  AGENT_UNIT,
  installedVersion,
  systemdRun,
  transientUnit,
  unitProperties,
} from "../../platform/systemd.ts";
import { requireTrusted } from "../../platform/trust/root-trust.ts";
import type { Launch } from "../journal.ts";
import { type CommandScript, ENTER, READ_COMMAND, WRAPPER, commandScript } from "./wrapper.ts";

const SLICE = "noderax-tasks.slice";
/** What stands in `began` when an agent, not the wrapper, came first. */
const PREVENTED = "prevented\n";
/** In the environment of every task: how processes that left its session are found again. */
export const TASK_VARIABLE = "TASK_ID";
/** Output that is kept on a full disk, too: what most commands write. */
const LITTLE = 64 * KIB;
/** More than an exit status and its time take; a file system that keeps small files elsewhere keeps this one whole. */
const RESERVED = 4_096;

const unitOf = (taskId: string, attempt: number): string => `noderax-task-${taskId}-${attempt}.service`;

/** The directory of a task's run; a repeated launch gets a new one. */
export const runDirectory = (root: string, taskId: string, attempt: number): string =>
  join(root, attempt === 1 ? taskId : `${taskId}.${attempt}`);

/** A unit of its own where systemd runs the machine and we are root; else a session of its own. */
export const launchMode = (): Launch["mode"] => (systemdRun() === undefined ? "session" : "unit");

export interface LaunchOrder {
  readonly directory: string;
  readonly taskId: string;
  readonly attempt: number;
  readonly mode: Launch["mode"];
  readonly runner: Runner;
  readonly script: CommandScript;
  /** Bytes kept of each stream. */
  readonly outputLimit: number;
  /** What the command sees of other tasks. */
  readonly view: View;
  /** The soft limit of open files outside of a unit, which has systemd's. */
  readonly openFiles: number | undefined;
  /** A file beside the wrapper's, by which the run is found again without the journal. */
  readonly record: { readonly name: string; readonly text: string };
}

/**
 * Starts the wrapper. Resolves once it was handed over — which says nothing about the command — with the failure in
 * words, or undefined. The wrapper gets a clean environment; what the command is to see stands in command.sh.
 */
export async function launch(order: LaunchOrder): Promise<string | undefined> {
  const { directory, runner, view, mode } = order;
  try {
    // Asked before each launch: a directory above may have been given away, or exchanged, since the start.
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
  const command = confined({ view, openFiles, onTerminal: false }, runner.shell(READ_COMMAND));
  const wrapper = supervised(view, ["/bin/sh", "-c", ENTER, "sh", directory, blocks, view, ...command]);
  return mode === "unit" ? startUnit(order, wrapper) : startSession(order, wrapper);
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
  { directory, taskId, attempt }: LaunchOrder,
  wrapper: string[],
): Promise<string | undefined> {
  const run = systemdRun();
  if (run === undefined) return "systemd-run is gone";
  const child = Bun.spawn(
    transientUnit(run, {
      name: unitOf(taskId, attempt),
      slice: SLICE,
      description: `noderax task ${taskId}`,
      workingDirectory: directory,
      outlives: AGENT_UNIT,
      properties: unitProperties((version ??= installedVersion(run))),
      command: wrapper,
    }),
    { env: { PATH: SYSTEM_PATH }, stdio: ["ignore", "ignore", "pipe"] },
  );
  const said = await new Response(child.stderr).text();
  return (await child.exited) === 0
    ? undefined
    : `systemd-run: ${said.trim() || `exit code ${child.exitCode}`}`;
}

/** What the wrapper has written down so far. */
export interface Run {
  /**
   * Makes sure that the wrapper will not begin any more. False when it has begun already. Whoever creates the file
   * first wins; there is no third outcome, whenever we or it crashed.
   */
  prevent(): boolean;
  hasBegun(): boolean;
  /** The exit status of the command, once there is one. */
  exitCode(): number | undefined;
  /** When the command ended and how long it ran, by the wrapper's own reading; undefined until it has an exit status. */
  span(): RunSpan | undefined;
  /** True while the wrapper lives; undefined when it has not said yet who it is. */
  wrapperAlive(): boolean | undefined;
  /** The processes of the command, without wrapper, pumps, and the init of their namespace, which ends with them. */
  members(): number[];
  /** True while a pump still waits for output. */
  pumping(): boolean;
  /** "pid 4711 (sleep)" of those that keep the output open. */
  outputHolders(): string[];
  /** From now on, a stream that has written more than a little is counted, not kept. True when there is one. */
  stopKeeping(): boolean;
}

export function openRun(directory: string, taskId: string, launched: Launch): Run {
  const marker = `${TASK_VARIABLE}=${taskId}`;
  const unit = launched.mode === "unit" ? unitOf(taskId, launched.attempt) : undefined;
  let session: Session | undefined;
  const known = (): Session | undefined => (session ??= readSession(join(directory, "session")));

  function members(): number[] {
    const { wrapper, init, pumps } = known() ?? { wrapper: undefined, init: undefined, pumps: [] };
    const pumping = new Set(pumps.map(({ pid }) => pid));
    const own = new Set([process.pid, wrapper?.pid, init?.pid, ...pumping]);
    const processes = processesOf({ leader: wrapper, marker, unit, init });
    // A pump is a shell with a `cat` or `wc` of its own; they end with the output, not with the command.
    return processes.filter((pid) => !own.has(pid) && !pumping.has(parentOf(pid) ?? -1));
  }

  const began = join(directory, "began");
  const exit = join(directory, "exit");
  return {
    prevent() {
      if (read(began) === PREVENTED) return true;
      try {
        mkdirSync(directory, { recursive: true, mode: 0o700 });
        // Linked with its text in it: a crash of ours must not look like a wrapper that began.
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
    },
    hasBegun: () => ![undefined, PREVENTED].includes(read(began)),
    exitCode: () => readExit(exit)?.code,
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
    pumping: () => (known()?.pumps ?? []).some(isAlive),
    outputHolders() {
      const place = realpathSync(directory);
      const pipes = ["stdout.pipe", "stderr.pipe"].map((name) => join(place, name));
      const all = members();
      return [...new Set(pipes.flatMap((pipe) => holdersOf(pipe, all)))].map(
        (pid) => `pid ${pid} (${processName(pid)})`,
      );
    },
    stopKeeping() {
      const large = (known()?.pumps ?? []).filter(({ log }) => sizeOf(join(directory, log)) > LITTLE);
      const copiers = large.flatMap(({ pid }) => childrenOf(pid)).filter((pid) => processName(pid) === "cat");
      // It ignores the signals that a command may send it; its pump goes on with `wc`.
      for (const pid of copiers) process.kill(pid, "SIGKILL");
      return large.length > 0;
    },
  };
}

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** How long a command ran, as far as that is known, and when it ended. */
export interface RunSpan {
  readonly ended: SteadyTime;
  readonly duration: Duration | undefined;
}

/** "<exit status> <uptime> ok", then what the file was filled with beforehand; undefined until it is complete. */
function readExit(path: string): { code: number; at: SteadyTime | undefined } | undefined {
  const [, code, up] = /^(\d+) (\S*) ok\n/.exec(read(path) ?? "") ?? [];
  return code === undefined ? undefined : { code: Number(code), at: parseUptime(up ?? "") };
}

/** Takes the block that the exit status will stand in, which needs no wait for the disk: what is written over it later has its room. */
function reserveFile(path: string): void {
  const file = openSync(path, "w", 0o600);
  try {
    writeSync(file, "\n".repeat(RESERVED));
  } finally {
    closeSync(file);
  }
}

interface Pump extends ProcessId {
  /** The file it writes. */
  readonly log: string;
}

interface Session {
  readonly wrapper: ProcessId;
  /** Of the namespace of a private view. */
  readonly init: ProcessId | undefined;
  readonly pumps: readonly Pump[];
  readonly began: SteadyTime | undefined;
}

/** Undefined until the file is complete. One of an earlier version has neither the init nor the time. */
function readSession(path: string): Session | undefined {
  const [, stat = "", init = "", out, err, up = ""] =
    /^(.+)\n(?:(.*)\n)?(\d+) (\d+) (?:(\S*) )?ok\n$/.exec(read(path) ?? "") ?? [];
  const wrapper = processOf(stat);
  if (wrapper === undefined) return undefined;
  // A pump that has ended already is not identified, which is as good as dead.
  const pumps = [
    { log: "stdout.log", id: identify(Number(out)) },
    { log: "stderr.log", id: identify(Number(err)) },
  ].flatMap(({ log, id }) => (id === undefined ? [] : [{ ...id, log }]));
  return { wrapper, init: processOf(init), pumps, began: parseUptime(up) };
}

/** From a line of /proc/<pid>/stat. */
function processOf(stat: string): ProcessId | undefined {
  const startTime = parseProcessStat(stat)?.startTime;
  return startTime === undefined ? undefined : { pid: Number.parseInt(stat, 10), startTime };
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
