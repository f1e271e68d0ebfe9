// Decides when a failed pull is tried again. Pure.
import { AgentError, messageOf } from "../../lib/agent-error.ts";
import { doubled } from "../../lib/backoff.ts";
import type { SteadyTime } from "../../lib/clock.ts";
import { retry } from "../../control/retry.ts";
import type { PullState } from "./images.ts";

/**
 * The state after Docker became unreachable during a pull, `times` in a row. It does not count as a failed attempt of the
 * image.
 */
export function pullInterrupted(
  before: PullState | undefined,
  times: number,
  error: unknown,
  now: SteadyTime,
): PullState {
  const retryAt = now + doubled(retry.pullInterrupted, times);
  if (before?.state === "failed") return { ...before, retryAt };
  return { state: "failed", message: messageOf(error), attempts: 0, retryAt, lasting: false };
}

/** The state of a pull that the daemon or the registry refused. */
export function pullFailed(
  before: PullState | undefined,
  error: unknown,
  now: SteadyTime,
): PullState & { state: "failed" } {
  const attempts = (before?.state === "failed" ? before.attempts : 0) + 1;
  const code = error instanceof AgentError ? error.code : "";
  const hint =
    code === "pull.unauthorized" && error instanceof AgentError ? error.hint.map((line) => `; ${line}`) : [];
  return {
    state: "failed",
    message: `${messageOf(error)}${hint.join("")}`,
    attempts,
    retryAt: now + doubled(retry.pull, attempts),
    lasting: code === "pull.unauthorized" || code === "pull.unknown",
  };
}
