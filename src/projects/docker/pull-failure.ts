// Classifies a failed pull by the message of the daemon or registry. Pure.
import { type ErrorCodeOf } from "../../lib/error-codes.ts";
import { AgentError } from "../../lib/agent-error.ts";
import { isFull, tidy } from "./errors.ts";

/** Each registry has its own texts; most contain the codes of the distribution protocol. */
const UNAUTHORIZED =
  /unauthorized|authentication required|no basic auth credentials|access denied|requested access to the resource is denied|\bdenied:|incorrect username or password|40[13] (unauthorized|forbidden)/i;
const UNKNOWN =
  /manifest unknown|name unknown|repository name not known|\bnot found\b|does not exist|invalid reference format|no matching manifest|invalid repository name/i;
const BUSY = /toomanyrequests|rate limit|no such host|timeout|connection refused/i;

/**
 * Returns `pull.unauthorized`, with `login` as its hint, `pull.unknown`, `docker.full`, or `pull.failed` for anything else.
 */
export function pullFailure(text: string, login: string, cause?: unknown): AgentError {
  const message = tidy(text);
  const make = (code: ErrorCodeOf<"docker" | "pull">, hint?: string): AgentError =>
    new AgentError(code, message, { hint, cause });
  if (isFull(text)) return make("docker.full", "Free some space:  docker system prune");
  if (BUSY.test(text)) return make("pull.failed");
  if (UNAUTHORIZED.test(text)) return make("pull.unauthorized", login);
  if (UNKNOWN.test(text)) return make("pull.unknown");
  return make("pull.failed");
}
