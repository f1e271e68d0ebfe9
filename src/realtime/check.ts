// Checks the Socket.IO endpoint over plain HTTP, to distinguish a wrong address or broken TLS from a proxy that blocks
// websockets. The result only explains a failure; it never decides whether the session connects.
import { KIB } from "../lib/size.ts";
import { abortScope } from "../lib/abort-scope.ts";
import { AgentError, exit } from "../lib/agent-error.ts";
import type { Duration } from "../lib/duration.ts";
import { retryAfter } from "../control/http.ts";
import { networkError } from "../control/network-error.ts";
import { explainTls } from "../control/tls-peer.ts";
import type { Endpoint } from "./transport.ts";

/** Undefined when the endpoint answered correctly. */
export type CheckResult = AgentError | undefined;

/** Runs the check. Never rejects. */
export type Check = (signal: AbortSignal) => Promise<CheckResult>;

/** A handshake has about 120 bytes; a longer answer is not read further. */
const ANSWER_MAX = 64 * KIB;

export function endpointCheck(endpoint: Endpoint, timeout: Duration): Check {
  const { protocol, origin } = new URL(endpoint.apiUrl);
  const url = `${endpoint.apiUrl.replace(/\/+$/, "")}${endpoint.path}?EIO=4&transport=polling`;
  let ca: string | undefined;
  const tls = () => (protocol === "https:" ? { tls: { ca: (ca ??= endpoint.authorities()) } } : {});

  return async function check(signal) {
    using scope = abortScope([signal], timeout);
    try {
      const response = await fetch(url, { redirect: "manual", signal: scope.signal, ...tls() });
      const text = await beginningOf(response);
      const session = /"sid":"([\w-]+)"/.exec(text)?.[1];
      if (response.ok && session !== undefined) {
        void close(session, signal);
        return undefined;
      }
      return isEngine(text) ? undefined : unexpected(response, `${origin}${endpoint.path}`);
    } catch (error) {
      if (error instanceof AgentError) return error;
      const explained = await explainTls(networkError(error, origin, timeout, signal), origin);
      return explained instanceof AgentError ? explained : networkError(explained, origin, timeout, signal);
    }
  };

  /** Closes the engine session that the check opened; the server would keep it for 45 s. */
  async function close(session: string, outer: AbortSignal): Promise<void> {
    using scope = abortScope([outer], timeout);
    const { signal } = scope;
    try {
      const response = await fetch(`${url}&sid=${session}`, { method: "POST", body: "1", signal, ...tls() });
      await response.body?.cancel();
    } catch {
      // The server ends it after 45 s.
    }
  }
}

/** An endpoint without polling answers 400 with an error code of Engine.IO, which proves that it exists. */
const isEngine = (text: string): boolean => /^\s*\{"code":\d+,"message":"/.test(text);

async function beginningOf({ body }: Response): Promise<string> {
  if (body === null) return "";
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of body) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > ANSWER_MAX) break;
  }
  return text;
}

function unexpected(response: Response, url: string): AgentError {
  const { status, headers } = response;
  if (response.ok)
    return new AgentError("http.answer", `${url} answers, but not as Socket.IO`, { exit: exit.unreachable });
  const what = status >= 300 && status < 400 ? "redirects elsewhere" : `answered ${status}`;
  return new AgentError("http.status", `${url} ${what}`, {
    status,
    retryAfter: retryAfter(headers),
    exit: exit.unreachable,
  });
}
