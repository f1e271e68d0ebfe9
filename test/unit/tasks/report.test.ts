// The completion says how a task ended in words and numbers that the control plane takes and an operator understands.
import { expect, test } from "bun:test";
import { wallFrom } from "../../../src/lib/clock.ts";
import { seconds } from "../../../src/lib/duration.ts";
import type { Launch, TaskOutcome, TaskRecord } from "../../../src/tasks/journal.ts";
import { nothingShipped } from "../../../src/tasks/output/rows.ts";
import { type TaskEnd, completionOf, outcomeOf, timeoutText, unrun } from "../../../src/tasks/report.ts";

const launch: Launch = {
  at: 1_000,
  wall: 0,
  bootId: "b",
  attempt: 1,
  mode: "session",
  deadline: 0,
  limit: "",
};
const task: TaskRecord = {
  id: "t",
  type: "shell.exec",
  command: undefined,
  phase: "launched",
  claimedAt: wallFrom(0),
  claimed: 0,
  started: 0,
  announced: undefined,
  launch,
  stop: undefined,
  shipped: nothingShipped,
  outcome: undefined,
  finishedAt: undefined,
};
const success: TaskOutcome = { status: "success", exitCode: 0, text: null };

test.each([
  [0, "success", null],
  [1, "failed", "exit code 1"],
  [126, "failed", "exit code 126 (the command, or its working directory, cannot be used)"],
  [127, "failed", "exit code 127 (command not found)"],
  [137, "failed", "killed by SIGKILL (exit code 137)"],
  [143, "failed", "killed by SIGTERM (exit code 143)"],
  [134, "failed", "killed by SIGABRT (exit code 134)"],
  [255, "failed", "exit code 255"],
])("exit code %d is %s", (code, status, text) => {
  expect(outcomeOf(code, undefined)).toEqual({ status, exitCode: code, text } as TaskOutcome);
});

test.each([
  ["cancel", 143, "cancelled"],
  ["cancel", 0, "cancelled"],
  ["timeout", 143, "timeout"],
  ["timeout", 0, "timeout"],
  ["server", 0, "success"],
  ["server", 143, "failed"],
] as const)("ended by %s with exit code %d, a task is %s", (reason, code, status) => {
  expect(outcomeOf(code, { reason, text: "why", at: 0 }).status).toBe(status);
});

const at = (time: number, duration?: number): TaskEnd => ({ at: wallFrom(time), duration });

test("the reason for which the task was ended is its error", () => {
  expect(outcomeOf(143, { reason: "cancel", text: "wrong machine", at: 0 }).text).toBe("wrong machine");
});

test("a time-out says how long the command ran and whose limit it was", () => {
  expect(timeoutText("the limit is 90s", seconds(91))).toBe("timed out after 1m 31s (the limit is 90s)");
});

const silent = { output: "" };

test("exit code, duration and error are sent beside each other, and no result that would hide them", () => {
  const outcome = outcomeOf(3, undefined);
  expect(completionOf(task, outcome, { output: "out\n" }, at(3_500, 2_500))).toEqual({
    taskId: "t",
    status: "failed",
    timestamp: new Date(3_500).toISOString(),
    output: "out\n",
    error: "exit code 3",
    exitCode: 3,
    durationMs: 2_500,
  });
});

test("a duration is a whole number, and never negative", () => {
  expect(completionOf(task, success, silent, at(1_000, 0.6)).durationMs).toBe(1);
  expect(completionOf(task, success, silent, at(10, -10)).durationMs).toBe(0);
});

test("a task that never ran has no duration and no exit code", () => {
  const completion = completionOf(
    { ...task, launch: undefined },
    unrun("failed", "not supported"),
    silent,
    at(5),
  );
  expect(completion).not.toHaveProperty("durationMs");
  expect(completion.exitCode).toBeNull();
});

test("an error without output is not hidden behind an empty output; a silent success has an empty one", () => {
  expect(completionOf(task, unrun("failed", "no"), silent, at(5))).not.toHaveProperty("output");
  expect(completionOf(task, success, silent, at(5)).output).toBe("");
});

test("a success carries no error: what it says instead of a command's output is its output", () => {
  const rebooting: TaskOutcome = { ...success, text: "The machine reboots now.", afterwards: ["reboot"] };
  const completion = completionOf({ ...task, launch: undefined }, rebooting, silent, at(5));
  expect(completion).toMatchObject({ status: "success", output: "The machine reboots now." });
  expect(completion).not.toHaveProperty("error");
});

test("an error is cut to what the control plane takes, never inside a character, and holds no NUL", () => {
  const { error = "" } = completionOf(task, unrun("failed", `a\0${"😀".repeat(9_000)}`), silent, at(5));
  expect(Array.from(error).length).toBeLessThanOrEqual(10_000);
  expect(error.isWellFormed()).toBe(true);
  expect(error).not.toContain("\0");
});

test("a result holds exit code, duration and error, since the control plane discards those beside it", () => {
  const result = { names: ["nano"] };
  expect(completionOf(task, success, { output: "", result }, at(3_500, 2_500))).toMatchObject({
    exitCode: 0,
    result: { names: ["nano"], exitCode: 0, durationMs: 2_500 },
  });
  const failed = completionOf(task, outcomeOf(100, undefined), { output: "", result }, at(5));
  expect(failed.result).toEqual({ names: ["nano"], error: "exit code 100", exitCode: 100 });
});

test("a result holds no lone surrogate and no NUL, in keys and at any depth: the control plane would answer 500", () => {
  const result = { "a\0": [{ b: "x\uD800", n: 1, t: true, z: null }] };
  const sent = completionOf(task, success, { output: "", result }, at(5)).result;
  expect(sent).toEqual({ "a\uFFFD": [{ b: "x\uFFFD", n: 1, t: true, z: null }], exitCode: 0 });
});
