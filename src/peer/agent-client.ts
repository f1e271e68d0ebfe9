// Another node's agent, called from anywhere: where it is, what it is asked with, and what its refusals mean.
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
  /** PEM of all trusted authorities; asked for when the agent speaks https. */
  readonly authorities: () => string;
}

/** No answer to a question within this time is no answer; looking a container up and connecting to it is in it. */
export const AGENT_PATIENCE: Duration = seconds(30);

/** "node-1", "10.0.0.5:9090", "[fd00::1]", "https://node-1:9090". Throws AgentError, exit 2. */
export function agentAt(text: string): AgentPlace {
  const scheme = /^https?:\/\//i.exec(text)?.[0].toLowerCase() ?? "http://";
  const rest = text.slice(/^https?:\/\//i.test(text) ? scheme.length : 0).replace(/\/$/, "");
  const { host = "", port = AGENT_PORT } = parseHostPort(rest) ?? {};
  if (host === "" || port === 0) {
    throw new AgentError("cli.usage", `--node: "${text}" is not an address`, {
      exit: exit.usage,
      hint: `Write host:port, or https://host:port; the port is ${AGENT_PORT} unless told otherwise.`,
    });
  }
  return { name: text, url: `${scheme}${formatHostPort(host, port)}` };
}

/** Asks the Caravanserai server which node has the project, and where its agent listens. Throws AgentError. */
export async function findAgent(
  server: { readonly url: string; readonly authorities: () => string },
  project: string,
  signal: AbortSignal,
): Promise<AgentPlace> {
  const http = createHttp({ baseUrl: server.url, dialect: CARAVANSERAI, authorities: server.authorities });
  const api = caravanseraiApi(http, seconds(15));
  const found = await api.place(project, signal);
  if (found === undefined) throw notThere(`${server.url} knows no project ${project}`, "Is the name right?");
  const node = found.status.nodeRef;
  if (node === "")
    throw notThere(
      `project ${project} is on no node: it is ${found.status.phase}`,
      "Wait until it is scheduled.",
    );
  const place = await api.nodePlace(node, signal);
  if (place === undefined) throw notThere(`project ${project} was on ${node}, which is no node any more`);
  const { ip, agentPort } = place.status.network ?? { ip: "", agentPort: 0 };
  if (ip === "")
    throw notThere(
      `node ${node} has told no address`,
      "Is its agent running? Or give its address:  --node host:port",
    );
  return { name: node, url: `http://${formatHostPort(ip, agentPort || AGENT_PORT)}` };
}

const notThere = (message: string, hint?: string): AgentError =>
  new AgentError("agent.unknown", printable(message), { hint });

/** The headers of every request. Without an Origin: it does not come from a web page. */
export const agentHeaders = ({ token }: RemoteAgent): Record<string, string> =>
  token === undefined ? {} : { authorization: `Bearer ${token}` };

/**
 * One GET. Throws AgentError when there is no answer; what the answer is, the caller sees. `mayWait`: for an answer that
 * begins some day, as a followed log does with its first line; of others, the head has to come soon.
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
  const timer = mayWait ? undefined : setTimeout(giveUp, AGENT_PATIENCE);
  try {
    return await fetch(agent.url + path, {
      headers: agentHeaders(agent),
      // Never followed: a redirect would carry the token to another place.
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

/** What went wrong below HTTP, in words for who called this agent. */
export async function agentUnreachable(
  agent: AgentPlace,
  error: unknown,
  signal: AbortSignal,
): Promise<AgentError> {
  const failure = networkError(error, agent.url, AGENT_PATIENCE, signal, "--node");
  if (failure.code === "net.refused") {
    const hint = `Does the agent of ${agent.name} run, and does it listen on that port (listen_port)?`;
    return new AgentError(failure.code, failure.message, { exit: failure.exit, hint, cause: error });
  }
  const explained = await explainTls(failure, agent.url);
  return explained instanceof AgentError ? explained : failure;
}

/** A reader of a longer text waits in vain: a problem document says one sentence. */
const PROBLEM_MAX = 65_536;

/** What an agent said instead of what it was asked for. */
export interface AgentRefusal {
  readonly status: number;
  readonly body: string;
}

export async function refusalIn(response: Response): Promise<AgentRefusal> {
  let body = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    body += decoder.decode(chunk, { stream: true });
    if (body.length > PROBLEM_MAX) break;
  }
  return { status: response.status, body };
}

/** True for a problem document, or any JSON that looks like one. */
export const isProblem = ({ body }: AgentRefusal): boolean => problemIn(body) !== undefined;

/** The agent's own words, and the next step where they leave it open. */
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
