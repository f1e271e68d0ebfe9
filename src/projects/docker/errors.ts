// Turns an error of a Docker call, or the text of a failed pull, into an AgentError with one of the codes of
// `plan/engine.ts`, with the daemon's message where there is one. Pure.
import { type ErrorCode, type ErrorCodeOf } from "../../lib/error-codes.ts";
import { errnoOf } from "../../lib/errno.ts";
import { AgentError, exit, messageOf } from "../../lib/agent-error.ts";
import { printable } from "../../lib/printable.ts";

/** Characters. A message of the daemon may quote a whole configuration. */
const MESSAGE_MAX = 500;

const UNREACHABLE: Record<string, string> = {
  ENOENT: "there is no such socket",
  ECONNREFUSED: "nobody listens there",
  ConnectionRefused: "nobody listens there",
  FailedToOpenSocket: "nobody listens there",
  ENOTFOUND: "the host name has no address",
  EAI_AGAIN: "the host name could not be resolved",
};

/** `host` is `docker_host` as configured. */
export function dockerFailure(error: unknown, host: string): AgentError {
  if (error instanceof AgentError) return error;
  const { code, status } = detailsOf(error);
  if (status !== undefined) return refusal(daemonMessage(error), status, error);
  if (code === "EACCES" || code === "EPERM") {
    return new AgentError("docker.forbidden", `this user may not use Docker at ${host}`, {
      hint: "Add it to the group of the socket:  usermod -aG docker USER",
      cause: error,
    });
  }
  return unreachable(host, UNREACHABLE[code] ?? messageOf(error), error);
}

/** The error `docker.away`; `why` follows the address and a colon. */
export const unreachable = (host: string, why: string, cause?: unknown): AgentError =>
  new AgentError("docker.away", `Docker does not answer at ${host}: ${why}`, {
    hint: "Is it running? Another address is set with docker_host.",
    exit: exit.unreachable,
    cause,
  });

/** The error for an answer with an error status. */
function refusal(message: string, status: number, cause: unknown): AgentError {
  const make = (code: ErrorCodeOf<"docker">, hint?: string): AgentError =>
    new AgentError(code, message, { status, hint, cause });
  if (isFull(message)) return make("docker.full", "Free some space:  docker system prune");
  if (status === 400 && /client version .* is too (old|new)/i.test(message)) return make("docker.version");
  if (status === 404) return make("docker.gone");
  // A proxy in front of the daemon answers these.
  if (status >= 502 && status <= 504) return make("docker.away");
  if (/non-overlapping IPv4 address pool|address pools have been (fully )?subnetted/i.test(message))
    return make("docker.refused", "Give Docker more networks: default-address-pools in its daemon.json.");
  return make("docker.refused");
}

/** Returns whether a message of Docker says that its disk is full. */
export const isFull = (message: string): boolean =>
  /no space left on device|disk quota exceeded/i.test(message);

/** The text of an error in one printable line of at most `MESSAGE_MAX` characters. */
export const tidy = (text: string): string => {
  const line = printable(text.trim().replaceAll(/\s+/g, " "));
  return line.length > MESSAGE_MAX ? `${line.slice(0, MESSAGE_MAX)}…` : line;
};

function detailsOf(error: unknown): { code: string; status: number | undefined } {
  if (!(error instanceof Error)) return { code: "", status: undefined };
  return {
    code: errnoOf(error),
    status: "statusCode" in error && typeof error.statusCode === "number" ? error.statusCode : undefined,
  };
}

/** The message in the body of the answer, or the library's message without its prefix. */
function daemonMessage(error: unknown): string {
  const body = error instanceof Error && "json" in error ? error.json : undefined;
  if (typeof body === "object" && body !== null && "message" in body && typeof body.message === "string")
    return tidy(body.message);
  return tidy(
    messageOf(error)
      .replace(/^\(HTTP code \d+\) [^-]* - /, "")
      .trim(),
  );
}

/** Resolves with undefined instead of an AgentError with one of these codes, or with a message that matches. */
export async function unless<T>(
  expected: readonly ErrorCode[] | RegExp,
  work: Promise<T>,
): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    const isFine = expected instanceof RegExp ? expected.test(error.message) : expected.includes(error.code);
    if (isFine) return undefined;
    throw error;
  }
}

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
