// A start is known as ours by the time that the server was told, whichever process told it.
import { expect, test } from "bun:test";
import { steadyNow } from "../../../src/lib/clock.ts";
import { momentNow } from "../../../src/platform/moment.ts";
import type { Task } from "../../../src/protocol/noderax/tasks.ts";
import { startOf } from "../../../src/tasks/start-ack.ts";
import { TASK, openStore } from "./scratch.ts";

const row = (startedAt: string | null): Task => ({
  id: TASK,
  type: "shell.exec",
  status: "running",
  payload: {},
  output: null,
  startedAt,
});
const ours = { epoch: Date.parse("2026-01-02T03:04:05.678Z"), at: 1_234 };

test("the reported time identifies our start, in whichever form the server writes it", () => {
  expect(startOf(row("2026-01-02T03:04:05.678Z"), ours)).toBe(1_234);
  expect(startOf(row("2026-01-02T04:04:05.678+01:00"), ours)).toBe(1_234);
});

test("a time that differs by a millisecond is somebody else's start", () => {
  expect(startOf(row("2026-01-02T03:04:05.679Z"), ours)).toBe("foreign");
});

test("a server that tells no time of a start lets the command run", () => {
  expect(startOf(row(null), ours)).toBe(1_234);
});

test("the announced start is kept when the task is handed out again before it was answered", () => {
  using store = openStore();
  const { journal } = store;
  const task = { id: TASK, type: "shell.exec", payload: {} };
  const announced = { epoch: ours.epoch, at: steadyNow() };
  journal.claimed(task, momentNow());
  expect(journal.find(TASK)?.announced).toBeUndefined();
  journal.announced(TASK, announced);
  journal.claimed(task, momentNow());
  expect(journal.find(TASK)?.announced).toEqual(announced);
});
