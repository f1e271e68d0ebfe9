// A program that stops by itself (a package manager's): a stop signals it alone, waits for it, and kills nothing.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { milliseconds, seconds } from "../../../src/lib/duration.ts";
import { terminate } from "../../../src/platform/processes.ts";
import { type Run, openRun, runDirectory } from "../../../src/tasks/run/directory.ts";
import { launch } from "../../../src/tasks/run/launch.ts";
import { endRun } from "../../../src/tasks/run/stop.ts";
import { until } from "../../support/until.ts";
import { free, launched, me } from "./command-runs.ts";
import { TASK, scratchDirectory } from "./scratch.ts";

let scratch: ReturnType<typeof scratchDirectory>;
let run: Run | undefined;

beforeEach(() => {
  scratch = scratchDirectory();
});
afterEach(async () => {
  const started = run;
  run = undefined;
  if (started !== undefined) {
    await terminate(() => started.members(), 0);
    await until("the wrapper to end", () => started.wrapperAlive() !== true && !started.copying());
  }
  scratch[Symbol.dispose]();
});

const file = (name: string): string => join(scratch.path, name);

/** Runs a script that waits for its child, as apt for dpkg; both write down a SIGTERM. */
async function start(script: string): Promise<Run> {
  const directory = runDirectory(scratch.path, TASK, 1);
  const failure = await launch({
    directory,
    taskId: TASK,
    attempt: 1,
    mode: "session",
    runner: me,
    outputLimit: 1_000_000,
    ...free,
    script: {
      argv: ["/bin/sh", "-c", script],
      environment: { PATH: "/usr/bin:/bin", HOME: "/", TASK_ID: TASK },
      workingDirectory: scratch.path,
    },
  });
  expect(failure).toBeUndefined();
  run = openRun(directory, TASK, { ...launched, stopsItself: true });
  await until("both run", () => existsSync(file("child")));
  return run;
}

const CHILD = `sh -c 'trap "echo x >child-was-ended" TERM; echo x >child; until [ -e go ]; do sleep 0.02; done; echo x >child-finished' &
child=$!`;

test("only the program gets SIGTERM; its child finishes, and then the program ends", async () => {
  const it = await start(`trap 'echo x >asked' TERM; ${CHILD}
until [ -e child-finished ]; do wait "$child"; done`);
  const ended = endRun(it, seconds(30));
  await until("the program was asked", () => existsSync(file("asked")));
  writeFileSync(file("go"), "");
  expect(await ended).toBeTrue();
  expect(it.exitCode()).toBe(0);
  expect(existsSync(file("child-finished"))).toBeTrue();
  expect(existsSync(file("child-was-ended"))).toBeFalse();
});

test("what goes on after the grace is left alone", async () => {
  const it = await start(`trap 'echo x >asked' TERM; ${CHILD}
until [ -e child-finished ]; do wait "$child"; done`);
  expect(await endRun(it, milliseconds(300))).toBeFalse();
  expect(existsSync(file("asked"))).toBeTrue();
  expect(it.exitCode()).toBeUndefined();
  expect(existsSync(file("child-was-ended"))).toBeFalse();
  writeFileSync(file("go"), "");
  await until("it has finished", () => it.exitCode() === 0);
});
