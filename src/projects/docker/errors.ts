// What went wrong with Docker, as one of the codes of `engine.ts`, in the daemon's own words where it had any. Pure.
import { errnoOf } from "../../lib/errno.ts";
import { AgentError, exit, messageOf } from "../../lib/agent-error.ts";
import { printable } from "../../lib/printable.ts";

/** A message of the daemon may quote a whole configuration. */
const WORDS_MAX = 500;

const AWAY: Record<string, string> = {
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
  if (status !== undefined) return refusal(wordsOf(error), status, error);
  if (code === "EACCES" || code === "EPERM") {
    return new AgentError("docker.forbidden", `this user may not use Docker at ${host}`, {
      hint: "Add it to the group of the socket:  usermod -aG docker USER",
      cause: error,
    });
  }
  return away(host, whyAway(error), error);
}

/** Why nobody could be asked, worded to follow the address and a colon. */
export const whyAway = (error: unknown): string => AWAY[detailsOf(error).code] ?? messageOf(error);

export const away = (host: string, why: string, cause?: unknown): AgentError =>
  new AgentError("docker.away", `Docker does not answer at ${host}: ${why}`, {
    hint: "Is it running? Another address is set with docker_host.",
    exit: exit.unreachable,
    cause,
  });

/** The daemon answered, with an error. */
function refusal(words: string, status: number, cause: unknown): AgentError {
  const make = (code: string, hint?: string): AgentError =>
    new AgentError(code, words, { status, hint, cause });
  if (isFull(words)) return make("docker.full", "Free some space:  docker system prune");
  if (status === 400 && /client version .* is too (old|new)/i.test(words)) return make("docker.version");
  if (status === 404) return make("docker.gone");
  // Of a proxy in front of the daemon.
  if (status >= 502 && status <= 504) return make("docker.away");
  if (/non-overlapping IPv4 address pool|address pools have been (fully )?subnetted/i.test(words))
    return make("docker.refused", "Give Docker more networks: default-address-pools in its daemon.json.");
  return make("docker.refused");
}

export const isFull = (words: string): boolean => /no space left on device|disk quota exceeded/i.test(words);

/** What of an error is worth showing: one line, not too long. */
export const tidy = (words: string): string => {
  const line = printable(words.trim().replaceAll(/\s+/g, " "));
  return line.length > WORDS_MAX ? `${line.slice(0, WORDS_MAX)}…` : line;
};

function detailsOf(error: unknown): { code: string; status: number | undefined } {
  if (!(error instanceof Error)) return { code: "", status: undefined };
  return {
    code: errnoOf(error),
    status: "statusCode" in error && typeof error.statusCode === "number" ? error.statusCode : undefined,
  };
}

/** The body of the answer where there is one: the library wraps it into words of its own. */
function wordsOf(error: unknown): string {
  const body = error instanceof Error && "json" in error ? error.json : undefined;
  if (typeof body === "object" && body !== null && "message" in body && typeof body.message === "string")
    return tidy(body.message);
  return tidy(
    messageOf(error)
      .replace(/^\(HTTP code \d+\) [^-]* - /, "")
      .trim(),
  );
}

/** Undefined instead of an error with one of these codes, or with these words of the daemon's. */
export async function unless<T>(
  expected: readonly string[] | RegExp,
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
