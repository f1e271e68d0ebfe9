// The one error type that reaches people: a stable code to switch on, what happened, and what to do next.
import type { Duration } from "./duration.ts";
import type { ErrorCode } from "./error-codes.ts";

/** Exit codes of the process, as the README documents them. */
export const exit = {
  done: 0,
  failed: 1,
  usage: 2,
  notEnrolled: 3,
  unreachable: 4,
  refused: 5,
  degraded: 6,
  interrupted: 130,
  /**
   * 128 + SIGPIPE: the reader closed the output before its end. A shell reports the same for other programs.
   */
  closedPipe: 141,
} as const;
export type ExitCode = (typeof exit)[keyof typeof exit];

export interface AgentErrorOptions {
  /** The next step, a line each; shown indented below the message. */
  hint?: string | readonly string[] | undefined;
  exit?: ExitCode | undefined;
  /** HTTP status, where a server answered. */
  status?: number | undefined;
  /** Pause that the server asked for before the next try. */
  retryAfter?: Duration | undefined;
  cause?: unknown;
}

/** Callers switch on `code`, never on the text. */
export class AgentError extends Error {
  override readonly name = "AgentError";
  readonly hint: readonly string[];
  readonly exit: ExitCode;
  readonly status: number | undefined;
  readonly retryAfter: Duration | undefined;

  constructor(
    readonly code: ErrorCode,
    message: string,
    options: AgentErrorOptions = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.hint = options.hint === undefined ? [] : [options.hint].flat();
    this.exit = options.exit ?? exit.failed;
    this.status = options.status;
    this.retryAfter = options.retryAfter;
  }
}

/** Whether an error is an AgentError with one of these codes. */
export function hasCode<Code extends ErrorCode>(
  error: unknown,
  ...codes: readonly Code[]
): error is AgentError & { readonly code: Code } {
  return error instanceof AgentError && codes.some((code) => code === error.code);
}

/** The HTTP status that a server answered with; undefined for every other failure. */
export const httpStatusOf = (error: unknown): number | undefined =>
  error instanceof AgentError ? error.status : undefined;

/** Whether the server refused a request with this HTTP status, in its own words. */
export const isStatus = (error: unknown, status: number): error is AgentError =>
  hasCode(error, "http.status") && error.status === status;

/** Returns the message of an Error, or the value itself as text. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
