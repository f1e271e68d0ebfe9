// Which of the four documented classes a failed session belongs to, and what to do about it.
import { type AgentError, hasCode } from "../lib/agent-error.ts";

export type FailureClass =
  | "invalid URL input"
  | "tls/proxy handshake failure"
  | "namespace connect failure"
  | "auth error";

export interface Failure {
  readonly class: FailureClass;
  readonly text: string;
  /** What a person can do; empty when there is nothing but to wait. */
  readonly next: string;
}

/** How far a session came that never got online, and what the check over HTTP found meanwhile. */
export interface Evidence {
  readonly stage: "transport" | "namespace" | "auth";
  readonly reason: string;
  /** The error that prevented the attempt, if one did. */
  readonly error?: AgentError | undefined;
  /** Undefined when the endpoint answered over HTTP. */
  readonly check: AgentError | undefined;
  /** The identity was refused for good, not for the moment. */
  readonly lasting?: boolean | undefined;
}

export function classify({ stage, reason, error, check, lasting }: Evidence): Failure {
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
      next: "let the proxy in between pass websockets on; until then the node lives on HTTP alone",
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

/** The address leads nowhere, or to something else. 401, 407 and 5xx come from what stands in between, or pass. */
function isAddress(error: AgentError): boolean {
  const { status } = error;
  if (status !== undefined) return status === 404 || status === 400 || (status >= 300 && status < 400);
  return hasCode(error, "realtime.url", "http.answer", "net.unresolved");
}
