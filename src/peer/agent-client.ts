// Calls another node's agent: finds its address, sends requests, turns its refusals into errors.
import * as v from "valibot";
import { abortScope } from "../lib/abort-scope.ts";
import { formatHostPort, parseHostPort } from "../lib/address.ts";
import { AgentError, type ExitCode, exit } from "../lib/agent-error.ts";
import { type Duration, seconds } from "../lib/duration.ts";
import { printable } from "../lib/printable.ts";
import { Problem } from "../protocol/caravanserai/resources.ts";
import { AGENT_PORT } from "../protocol/caravanserai/tunnel.ts";
import { caravanseraiApi } from "../control/caravanserai-api.ts";
import { CARAVANSERAI, createHttp } from "../control/http.ts";
import { networkError } from "../control/network-error.ts";
import { explainTls } from "../control/tls-peer.ts";

export interface AgentPlace {
  /** The node's name, or its address where only that is known. */
  readonly name: string;
  /** "http://10.0.0.5:9090" */
  readonly url: string;
}

export interface RemoteAgent extends AgentPlace {
  readonly token: string | undefined;
  /** Returns the PEM of all trusted authorities; called for https only. */
  readonly authorities: () => string;
}

/** How long to wait for an answer; the agent may find a container and connect to it meanwhile. */
export const AGENT_TIMEOUT: Duration = seconds(30);

/** Parses "node-1", "10.0.0.5:9090", "[fd00::1]", "https://node-1:9090". Throws "cli.usage". */
export function parseAgentAddress(text: string): AgentPlace {
  const scheme = /^https?:\/\//i.exec(text)?.[0].toLowerCase() ?? "http://";
  const rest = text.slice(/^https?:\/\//i.test(text) ? scheme.length : 0).replace(/\/$/, "");
  const { host = "", port = AGENT_PORT } = parseHostPort(rest) ?? {};
  if (host === "" || port === 0) {
    throw new AgentError("cli.usage", `--node: "${text}" is not an address`, {
      exit: exit.usage,
      hint: `Write host:port, or https://host:port; the default port is ${AGENT_PORT}.`,
    });
  }
  return { name: text, url: `${scheme}${formatHostPort(host, port)}` };
}

/** Asks the Caravanserai server for the node of a project and its agent's address. Throws "agent.unknown", "net.*", "http.*". */
export async function findAgent(
  server: { readonly url: string; readonly authorities: () => string },
  project: string,
  signal: AbortSignal,
): Promise<AgentPlace> {
  const http = createHttp({ baseUrl: server.url, dialect: CARAVANSERAI, authorities: server.authorities });
  const api = caravanseraiApi(http, seconds(15));
  const found = await api.place(project, signal);
  if (found === undefined) throw notThere(`${server.url} has no project ${project}`, "Is the name right?");
  const node = found.status.nodeRef;
  if (node === "")
    throw notThere(
      `project ${project} is on no node: it is ${found.status.phase}`,
      "Wait until it is scheduled.",
    );
  const place = await api.nodePlace(node, signal);
  if (place === undefined) throw notThere(`project ${project} was on ${node}, which does not exist any more`);
  const { ip, agentPort } = place.status.network ?? { ip: "", agentPort: 0 };
  if (ip === "")
    throw notThere(
      `node ${node} has reported no address`,
      "Is its agent running? Or give its address:  --node host:port",
    );
  return { name: node, url: `http://${formatHostPort(ip, agentPort || AGENT_PORT)}` };
}

const notThere = (message: string, hint?: string): AgentError =>
  new AgentError("agent.unknown", printable(message), { hint });

/** Returns the headers of every request. No Origin: the request does not come from a web page. */
export const agentHeaders = ({ token }: RemoteAgent): Record<string, string> =>
  token === undefined ? {} : { authorization: `Bearer ${token}` };

/**
 * Sends a GET. Resolves with any answer; throws "net.*", "tls.*" or "aborted" without one. `mayWait` removes the timeout, for a
 * followed log, whose answer begins with its first line.
 */
export async function askAgent(
  agent: RemoteAgent,
  path: string,
  signal: AbortSignal,
  { mayWait = false } = {},
): Promise<Response> {
  // Not disposed: it also ends the reading of the answer.
  const scope = abortScope([signal]);
  const giveUp = (): void => scope.abort(new DOMException("late", "TimeoutError"));
  const timer = mayWait ? undefined : setTimeout(giveUp, AGENT_TIMEOUT);
  try {
    return await fetch(agent.url + path, {
      headers: agentHeaders(agent),
      // Not followed: a redirect would send the token to another server.
      redirect: "manual",
      keepalive: false,
      timeout: false,
      signal: scope.signal,
      ...(agent.url.startsWith("https:") ? { tls: { ca: agent.authorities() } } : {}),
    });
  } catch (error) {
    throw await agentUnreachable(agent, error, signal);
  } finally {
    clearTimeout(timer);
  }
}

/** Turns a failure below HTTP into an error that names the agent. */
export async function agentUnreachable(
  agent: AgentPlace,
  error: unknown,
  signal: AbortSignal,
): Promise<AgentError> {
  const failure = networkError(error, agent.url, AGENT_TIMEOUT, signal, "--node");
  if (failure.code === "net.refused") {
    const hint = `Is the agent of ${agent.name} running, and does it listen on that port (listen_port)?`;
    return new AgentError(failure.code, failure.message, { exit: failure.exit, hint, cause: error });
  }
  const explained = await explainTls(failure, agent.url);
  return explained instanceof AgentError ? explained : failure;
}

/** Characters read of a refusal: a problem document is one sentence. */
const PROBLEM_MAX = 65_536;

/** An answer that is not the requested one. */
export interface AgentRefusal {
  readonly status: number;
  readonly body: string;
}

/** Reads a refusal, up to PROBLEM_MAX characters of its body. */
export async function readRefusal(response: Response): Promise<AgentRefusal> {
  let body = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    body += decoder.decode(chunk, { stream: true });
    if (body.length > PROBLEM_MAX) break;
  }
  return { status: response.status, body };
}

/** Tells whether the body is a problem document, or JSON that looks like one. */
export const isProblem = ({ body }: AgentRefusal): boolean => problemIn(body) !== undefined;

/** Makes an error with the agent's own message, and a hint for refused access. */
export function refusalError({ status, body }: AgentRefusal, agent: RemoteAgent): AgentError {
  const problem = problemIn(body);
  if (problem === undefined && status < 400)
    return new AgentError("http.answer", `${agent.url} does not answer like an agent (HTTP ${status})`, {
      exit: exit.unreachable,
      hint: "Is it the address of an agent's HTTP server (listen_port)?",
    });
  const text = problem?.detail || problem?.title || `HTTP ${status}`;
  return new AgentError("agent.refused", `${agent.name}: ${printable(text)}`, {
    status,
    exit: EXITS[status] ?? (status >= 500 ? exit.unreachable : exit.failed),
    hint: hintFor(status, agent),
  });
}

function problemIn(body: string): Problem | undefined {
  try {
    const parsed = v.safeParse(Problem, JSON.parse(body));
    return parsed.success && (parsed.output.detail || parsed.output.title) ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}

const EXITS: Readonly<Record<number, ExitCode>> = {
  400: exit.usage,
  401: exit.refused,
  403: exit.refused,
  429: exit.refused,
  502: exit.failed,
};

function hintFor(status: number, { token }: RemoteAgent): string | undefined {
  if (status !== 401 && status !== 403) return undefined;
  return token === undefined
    ? "Give its token:  --token-file FILE, or NODERAX_LISTEN_TOKEN in the environment; on its own machine, ask with sudo."
    : "The token is not that agent's listen_token.";
}
