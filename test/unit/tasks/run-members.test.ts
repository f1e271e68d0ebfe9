// The processes of a run: which belong to its command, and how all of them are ended.
import { expect, test } from "bun:test";
import { join } from "node:path";
import { milliseconds, seconds } from "../../../src/lib/duration.ts";
import { identify, isAlive, processName, terminate } from "../../../src/platform/processes.ts";
import { until } from "../../support/until.ts";
import { commandRuns, textIn } from "./command-runs.ts";

const { start } = commandRuns();

test("members are the command and all it started, also what left the session, without wrapper and output copiers", async () => {
  const it = await start(
    "setsid sleep 61 & (setsid sh -c 'sleep 62 & sleep 63' &) ; sleep 64 & echo ready; wait",
  );
  await until("the output", () => it.stdout() === "ready\n");
  const names = (): string[] => it.run.members().map(processName);
  await until("all sleepers", () => names().filter((name) => name === "sleep").length === 4);
  const session = textIn(join(it.directory, "session"));
  const wrapper = Number.parseInt(session, 10);
  const pumps = (/\n(\d+) (\d+) \S+ ok\n/.exec(session) ?? []).slice(1).map(Number);
  expect(pumps).toHaveLength(2);
  for (const pid of [wrapper, ...pumps, process.pid]) expect(it.run.members()).not.toContain(pid);
  expect(names()).not.toContain("cat");
});

test("the whole tree is ended, double forks and other sessions included", async () => {
  const it = await start("(setsid sh -c 'sleep 71 & exec sleep 72' &) ; sleep 73 & echo ready; wait");
  await until("the output", () => it.stdout() === "ready\n");
  await until(
    "all sleepers",
    () => it.run.members().filter((pid) => processName(pid) === "sleep").length === 3,
  );
  const all = it.run.members().map((pid) => identify(pid));
  expect(await terminate(() => it.run.members(), seconds(5))).toBe(true);
  for (const one of all) if (one !== undefined) expect(isAlive(one)).toBe(false);
  await until("the exit status", () => it.run.exitCode() !== undefined);
  expect(it.run.exitCode()).toBe(143);
});

test("a command that handles SIGTERM gets its grace, and is asked once", async () => {
  const it = await start(
    "n=0; trap 'n=$((n+1)); echo asked $n; sleep 0.3; echo cleaned; exit 5' TERM; echo ready; while :; do sleep 0.05; done",
  );
  await until("the output", () => it.stdout() === "ready\n");
  expect(await terminate(() => it.run.members(), seconds(5))).toBe(true);
  await until("the end", () => it.run.exitCode() !== undefined && !it.run.copying());
  expect(it.run.exitCode()).toBe(5);
  expect(it.stdout()).toBe("ready\nasked 1\ncleaned\n");
});

test("a tree that ignores SIGTERM is killed after the grace, not before", async () => {
  const it = await start("trap '' TERM; sleep 81 & echo ready; while :; do wait; done");
  await until("the output", () => it.stdout() === "ready\n");
  const begin = performance.now();
  expect(await terminate(() => it.run.members(), milliseconds(300))).toBe(true);
  expect(performance.now() - begin).toBeGreaterThanOrEqual(300);
  await until("the exit status", () => it.run.exitCode() !== undefined);
  expect(it.run.exitCode()).toBe(137);
});

test("a command that forks faster than it is listed is ended as well", async () => {
  const it = await start("echo ready; while :; do sleep 0.01 & done 2>/dev/null");
  await until("the output", () => it.stdout() === "ready\n");
  expect(await terminate(() => it.run.members(), milliseconds(200))).toBe(true);
  // The wrapper itself takes its pipes away meanwhile, for which it forks.
  await until("nobody to be left", () => it.run.members().length === 0);
});

test("a wrapper that was killed is seen to be dead, and leaves no exit status", async () => {
  const it = await start("echo ready; sleep 90");
  await until("the output", () => it.stdout() === "ready\n");
  expect(it.run.wrapperAlive()).toBe(true);
  process.kill(Number.parseInt(textIn(join(it.directory, "session")), 10), "SIGKILL");
  await until("the wrapper's death", () => it.run.wrapperAlive() === false);
  expect(it.run.exitCode()).toBeUndefined();
  expect(it.run.members().map(processName)).toContain("sleep");
});

test("a wrapper that is told to stop waits for its command: exit status and last output are stored", async () => {
  const it = await start("trap 'echo last words; exit 5' TERM; echo ready; while :; do sleep 0.05; done");
  await until("the command", () => it.stdout() === "ready\n");
  const wrapper = Number.parseInt(textIn(join(it.directory, "session")), 10);
  // Everybody at once: wrapper, pumps and command, as systemd does with a unit that is stopped.
  process.kill(-wrapper, "SIGTERM");
  await until("the exit status", () => it.run.exitCode() !== undefined);
  await until("the end of the output", () => !it.run.copying());
  expect(it.run.exitCode()).toBe(5);
  expect(it.stdout()).toBe("ready\nlast words\n");
});
