// Turns the end of a task into the completion that the control plane expects. Pure.
import { constants } from "node:os";
import { type WallTime, isoOf } from "../lib/clock.ts";
import { type Duration, humanDuration } from "../lib/duration.ts";
import { ERROR_MAX } from "../protocol/noderax/limits.ts";
import type { CompletedRequest } from "../protocol/noderax/tasks.ts";
import type { TaskOutcome, Stop, TaskRecord } from "./journal.ts";

/** Returns the outcome by the exit status of the command and the request to stop it, if there was one. */
export function outcomeOf(exitCode: number, stop: Stop | undefined): TaskOutcome {
  if (stop?.reason === "cancel") return { status: "cancelled", exitCode, text: stop.text };
  if (stop?.reason === "timeout") return { status: "timeout", exitCode, text: stop.text };
  if (exitCode === 0) return { status: "success", exitCode, text: null };
  return { status: "failed", exitCode, text: explainExit(exitCode) };
}

/** Returns the outcome of a task whose command was not run. */
export function unrun(status: "failed" | "cancelled" | "timeout", text: string): TaskOutcome {
  return { status, exitCode: null, text };
}

/** Explains the codes of a shell: 126, 127, and 128 + n for a death by signal n. */
function explainExit(code: number): string {
  if (code === 126) return "exit code 126 (the command, or its working directory, cannot be used)";
  if (code === 127) return "exit code 127 (command not found)";
  const signal = Object.entries(constants.signals).find(([, number]) => number === code - 128)?.[0];
  return signal === undefined ? `exit code ${code}` : `killed by ${signal} (exit code ${code})`;
}

/** Returns the text of a task that was ended at its limit. `limit`: the limit in words. */
export function timeoutText(limit: string, ran: Duration): string {
  return `timed out after ${humanDuration(ran)} (${limit})`;
}

/** When the command ended, by the server's clock, and how long it ran; undefined when unknown. */
export interface TaskEnd {
  readonly at: WallTime;
  readonly duration: Duration | undefined;
}

/** What a task produced: its output, and the structured result of kinds that have one. */
export interface Product {
  readonly output: string;
  readonly result?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * Returns the body of the completion. With a result the server discards exit code, duration and error, so that they are in
 * it, too; without one the server makes it of them.
 */
export function completionOf(
  task: TaskRecord,
  outcome: TaskOutcome,
  { output, result }: Product,
  end: TaskEnd,
): CompletedRequest {
  const isSuccess = outcome.status === "success";
  const error = isSuccess || outcome.text === null ? undefined : storable(outcome.text.slice(0, ERROR_MAX));
  // A success has no error; without output, the text says what was done instead of a command.
  const shown = isSuccess && output === "" ? (outcome.text ?? "") : output;
  const facts = {
    ...(error === undefined ? {} : { error }),
    exitCode: outcome.exitCode,
    ...(end.duration === undefined ? {} : { durationMs: Math.max(0, Math.round(end.duration)) }),
  };
  return {
    taskId: task.id,
    status: outcome.status === "dropped" ? "failed" : outcome.status,
    timestamp: isoOf(end.at),
    // Without output, the server shows the error in its place; an empty one would hide it.
    ...(shown === "" && error !== undefined ? {} : { output: storable(shown) }),
    ...facts,
    ...(result === undefined ? {} : { result: storableRecord({ ...result, ...facts }) }),
  };
}

/** Replaces lone surrogates and NUL, which may come from a payload: the server would answer 500 to every try. */
const storable = (text: string): string => text.toWellFormed().replaceAll("\0", "\uFFFD");

const storableRecord = (record: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [storable(key), storableValue(value)]));

function storableValue(value: unknown): unknown {
  if (typeof value === "string") return storable(value);
  if (Array.isArray(value)) return value.map(storableValue);
  if (typeof value !== "object" || value === null) return value;
  return storableRecord({ ...value });
}
