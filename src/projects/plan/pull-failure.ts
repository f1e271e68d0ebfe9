// Why an image cannot be had, from the words of daemon and registry, and when to try again. Pure.
import { AgentError, messageOf } from "../../lib/agent-error.ts";
import { doubled } from "../../lib/backoff.ts";
import { retry } from "../../control/retry.ts";
import { isFull, tidy } from "../docker/errors.ts";
import type { PullState } from "./images.ts";

/** Registries word these as they like; the codes of the distribution protocol stand in most of them. */
const UNAUTHORIZED =
  /unauthorized|authentication required|no basic auth credentials|access denied|requested access to the resource is denied|\bdenied:|incorrect username or password|40[13] (unauthorized|forbidden)/i;
const UNKNOWN =
  /manifest unknown|name unknown|repository name not known|\bnot found\b|does not exist|invalid reference format|no matching manifest|invalid repository name/i;
const BUSY = /toomanyrequests|rate limit|no such host|timeout|connection refused/i;

/** `login` is what helps where the registry wants to know who asks. */
export function pullFailure(words: string, login: string, cause?: unknown): AgentError {
  const message = tidy(words);
  const make = (code: string, hint?: string): AgentError => new AgentError(code, message, { hint, cause });
  if (isFull(words)) return make("docker.full", "Free some space:  docker system prune");
  if (BUSY.test(words)) return make("pull.failed");
  if (UNAUTHORIZED.test(words)) return make("pull.unauthorized", login);
  if (UNKNOWN.test(words)) return make("pull.unknown");
  return make("pull.failed");
}

/** The state of a pull that ended `times` times in a row because Docker was unreachable: the image has not failed. */
export function pullInterrupted(
  before: PullState | undefined,
  times: number,
  error: unknown,
  now: number,
): PullState {
  const retryAt = now + doubled(retry.pullInterrupted, times);
  if (before?.state === "failed") return { ...before, retryAt };
  return { state: "failed", message: messageOf(error), attempts: 0, retryAt, lasting: false };
}

/** The state of a pull that daemon or registry refused. */
export function pullFailed(
  before: PullState | undefined,
  error: unknown,
  now: number,
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
