// Runs commands under the real wrapper and the real shell, in a directory that goes at the end of the test, as do they.
import { afterEach, beforeEach, expect } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { currentAccount, findAccount, runnerFor, isRoot } from "../../../src/platform/account.ts";
import { bootId, terminate } from "../../../src/platform/processes.ts";
import type { Launch } from "../../../src/tasks/journal.ts";
import { type Run, openRun, runDirectory } from "../../../src/tasks/run/directory.ts";
import { type LaunchOrder, launch } from "../../../src/tasks/run/launch.ts";
import { until } from "../../support/until.ts";
import { TASK, scratchDirectory } from "./scratch.ts";

export const launched: Launch = {
  at: 0,
  wall: 0,
  bootId: bootId(),
  attempt: 1,
  mode: "session",
  deadline: 0,
  limit: "",
};
export const me = runnerFor(currentAccount());
export const other = isRoot() ? findAccount("nobody") : undefined;
export const free = {
  view: "shared",
  openFiles: undefined,
  hasReport: false,
  limits: { memory: 2 ** 30, cpuPercent: undefined, processes: 2_048, nice: 0, ioWeight: 100 },
  record: { name: "task.json", text: "{}" },
} as const;
const ENVIRONMENT = { PATH: "/usr/local/bin:/usr/bin:/bin", HOME: "/", TASK_ID: TASK };

/** A command that was started. */
export interface Started {
  readonly directory: string;
  readonly run: Run;
  /** What the command wrote so far. */
  readonly stdout: () => string;
  readonly stderr: () => string;
}

export const textIn = (path: string): string => (existsSync(path) ? readFileSync(path, "utf8") : "");

/** What differs from a plain command of the caller. */
export interface CommandOptions extends Partial<Omit<LaunchOrder, "script">> {
  readonly environment?: Readonly<Record<string, string>>;
  readonly workingDirectory?: string;
  readonly shell?: string;
}

/** Of every test in the file that calls it: its own directory, and its commands, which are ended with it. */
export function commandRuns() {
  let scratch: ReturnType<typeof scratchDirectory>;
  let started: Started[];

  beforeEach(() => {
    scratch = scratchDirectory();
    started = [];
  });
  afterEach(async () => {
    for (const { run } of started) {
      await terminate(() => run.members(), 0);
      await until("the wrapper to end", () => run.wrapperAlive() !== true && !run.copying());
    }
    scratch[Symbol.dispose]();
  });

  async function start(command: string, options: CommandOptions = {}): Promise<Started> {
    const { environment = {}, workingDirectory, shell = "/bin/sh", ...order } = options;
    const directory = runDirectory(scratch.path, TASK, started.length + 1);
    const failure = await launch({
      directory,
      taskId: TASK,
      attempt: started.length + 1,
      mode: "session",
      runner: me,
      outputLimit: 1_000_000,
      ...free,
      ...order,
      script: {
        argv: [shell, "-lc", command],
        environment: { ...ENVIRONMENT, ...environment },
        workingDirectory,
      },
    });
    expect(failure).toBeUndefined();
    const it = {
      directory,
      run: openRun(directory, TASK, launched),
      stdout: () => textIn(join(directory, "stdout.log")),
      stderr: () => textIn(join(directory, "stderr.log")),
    };
    started.push(it);
    return it;
  }

  /** Starts it and waits for its end and that of its output. */
  async function finish(
    command: string,
    options: CommandOptions = {},
  ): Promise<Started & { readonly code: number }> {
    const it = await start(command, options);
    await until("the exit status", () => it.run.exitCode() !== undefined);
    await until("the end of the output", () => !it.run.copying());
    return { ...it, code: it.run.exitCode() ?? -1 };
  }

  return {
    start,
    finish,
    started: () => started,
    at: (name: string) => join(scratch.path, name),
    directory: () => scratch.path,
  };
}
