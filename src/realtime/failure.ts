// Assigns a failed session to one of the four documented classes, with advice for a person. Pure.
import { type AgentError, hasCode } from "../lib/agent-error.ts";

export type FailureClass =
  | "invalid URL input"
  | "tls/proxy handshake failure"
  | "namespace connect failure"
  | "auth error";

export interface SessionFailure {
  readonly class: FailureClass;
  readonly text: string;
  /** Advice for a person; empty when waiting is all that can be done. */
  readonly next: string;
}

/** The stage that a failed connection reached, and the result of the check over HTTP. */
export interface FailureEvidence {
  readonly stage: "transport" | "namespace" | "auth";
  readonly reason: string;
  /** The error that prevented the attempt, if one did. */
  readonly error?: AgentError | undefined;
  /** Undefined when the endpoint answered over HTTP. */
  readonly check: AgentError | undefined;
  /** True when the identity was refused permanently. */
  readonly lasting?: boolean | undefined;
}

/** Returns the class of a failure, its text, and the next step. */
export function classify({ stage, reason, error, check, lasting }: FailureEvidence): SessionFailure {
  if (stage === "auth") {
    const next = lasting === true ? "enroll this machine again: noderax-agent enroll --force" : "";
    return { class: "auth error", text: reason, next };
  }
  if (stage === "namespace")
    return { class: "namespace connect failure", text: reason, next: "check realtime_namespace" };
  const found = error ?? check;
  if (found === undefined) {
    return {
      class: "tls/proxy handshake failure",
      text: `the server answers over HTTP, but no websocket opens: ${reason}`,
      next: "configure the proxy to pass websockets on; until then the node uses HTTP only",
    };
  }
  const next = found.hint.join(" ");
  if (isAddress(found))
    return {
      class: "invalid URL input",
      text: found.message,
      next: next || "check api_url and realtime_path",
    };
  return { class: "tls/proxy handshake failure", text: found.message, next };
}

/** Whether the address is wrong. 401, 407 and 5xx come from a proxy in between, or are temporary. */
function isAddress(error: AgentError): boolean {
  const { status } = error;
  if (status !== undefined) return status === 404 || status === 400 || (status >= 300 && status < 400);
  return hasCode(error, "realtime.url", "http.answer", "net.unresolved");
}
