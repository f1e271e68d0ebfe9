// Turns an error of fetch into an AgentError whose code names the kind of failure.
import { type ErrorCodeOf } from "../lib/error-codes.ts";
import { errnoOf } from "../lib/errno.ts";
import { AgentError, exit, messageOf, hasCode } from "../lib/agent-error.ts";
import { type Duration, formatDuration } from "../lib/duration.ts";

/**
 * net.refused      nobody listens: the request was not received
 * net.unresolved   the name has no address: not received
 * net.reset        the connection broke: the request may have been received
 * net.timeout      no answer in time: the request may have been received
 * tls.untrusted    certificate of an unknown authority; tls.name, tls.expired likewise: not received
 * aborted          our own signal aborted
 */
export type NetworkCode = ErrorCodeOf<"net" | "tls"> | "aborted";

const UNTRUSTED = new Set([
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "CERT_UNTRUSTED",
]);

/**
 * `waited`: the timeout of the request. `signal`: of the caller, which makes it "aborted". `setting`: named
 * in hints.
 */
export function networkError(
  error: unknown,
  origin: string,
  waited: Duration,
  signal: AbortSignal,
  setting = "api_url",
): AgentError {
  if (signal.aborted)
    return new AgentError("aborted", "interrupted", { exit: exit.interrupted, cause: error });
  const code = errnoOf(error);
  const make = (kind: NetworkCode, text: string, hint?: string | string[]): AgentError =>
    new AgentError(kind, `cannot reach ${origin}: ${text}`, { exit: exit.unreachable, hint, cause: error });
  if (error instanceof DOMException && error.name === "TimeoutError") {
    return make("net.timeout", `no answer within ${formatDuration(waited)}`);
  }
  if (code === "ECONNREFUSED" || code === "ConnectionRefused" || code === "FailedToOpenSocket") {
    return make("net.refused", "connection refused", "Is the control plane running, and is the port right?");
  }
  if (code === "ENOTFOUND" || code === "EAI_AGAIN" || code.startsWith("DNS_")) {
    return make("net.unresolved", "the host name has no address", `Check ${setting} and this machine's DNS.`);
  }
  if (UNTRUSTED.has(code)) {
    return make("tls.untrusted", "certificate signed by an unknown authority", [
      "Trust it with:  noderax-agent config set api_tls_ca_file /path/to/ca.pem",
    ]);
  }
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID" || code === "HOSTNAME_MISMATCH") {
    return make(
      "tls.name",
      "the certificate is for another host name",
      "Use the name the certificate was issued for.",
    );
  }
  if (code === "CERT_HAS_EXPIRED" || code === "CERT_NOT_YET_VALID") {
    const when = code === "CERT_HAS_EXPIRED" ? "has expired" : "is not valid yet";
    return make(
      "tls.expired",
      `the certificate ${when}`,
      "If the server is right, check this machine's clock.",
    );
  }
  if (code === "ECONNRESET") return make("net.reset", "the connection was closed before an answer came");
  return make("net.reset", messageOf(error).replace(/ For more information.*$/s, ""));
}

/**
 * Returns whether the server may have handled the request although no valid answer came. True for unknown
 * errors.
 */
export function mayHaveArrived(error: unknown): boolean {
  if (!(error instanceof AgentError)) return true;
  if (hasCode(error, "net.reset", "net.timeout", "aborted", "http.answer")) return true;
  return error.status !== undefined && error.status >= 500;
}
