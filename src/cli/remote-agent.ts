// For commands that ask a node's agent for something: which node, where it listens, with which token.
import { readFileSync } from "node:fs";
import { type AgentPlace, type RemoteAgent, agentAt, findAgent } from "../control/agent-client.ts";
import { trustedAuthorities } from "../control/trust.ts";
import { AgentError, exit, messageOf } from "../lib/agent-error.ts";
import { crossesInClear } from "../lib/clear-text.ts";
import { findSandbox } from "../sandbox/announce.ts";
import { configFrom } from "./config-flags.ts";
import { warn } from "./output.ts";

/** The flags of all of them. A token is no flag: other users of the machine see those. */
export const remoteAgentFlags = {
  node: {
    type: "string",
    valueHint: "HOST:PORT",
    description: "the agent's address, or https://HOST:PORT (default: what the server tells)",
  },
  server: {
    type: "string",
    alias: "server-url",
    valueHint: "URL",
    description: "the Caravanserai server to ask for the node (default: server_url, or a sandbox here)",
  },
  "token-file": {
    type: "string",
    valueHint: "FILE",
    description: "file with the agent's listen_token (default: NODERAX_LISTEN_TOKEN, or listen_token)",
  },
  ca: {
    type: "string",
    alias: "api-tls-ca-file",
    valueHint: "FILE",
    description: "PEM certificate of an authority to trust besides the usual ones",
  },
  config: { type: "string", valueHint: "FILE", description: "read this configuration file and no other" },
} as const;

type Flags = { readonly [K in keyof typeof remoteAgentFlags]?: string | undefined };

/** Asked again, it looks again where the project is now. */
export type Locate = (signal: AbortSignal) => Promise<RemoteAgent>;

/** Throws AgentError: exit 2 when nobody can tell which node it is. */
export async function agentLocator(flags: Flags, project: string): Promise<Locate> {
  const { settings } = await configFrom({
    config: flags.config,
    "server-url": flags.server,
    "api-tls-ca-file": flags.ca,
  });
  const token = tokenIn(flags["token-file"]) ?? settings.listen_token;
  const authorities = (): string => trustedAuthorities(settings.api_tls_ca_file);
  const access = { token, authorities };
  if (flags.node !== undefined) {
    const place = agentAt(flags.node);
    return () => Promise.resolve({ ...place, ...access });
  }
  const server = serverFor(settings.server_url, authorities);
  return async (signal) => ({ ...(await findAgent(server, project, signal)), ...access });
}

function serverFor(
  url: string | undefined,
  authorities: () => string,
): { readonly url: string; readonly authorities: () => string } {
  if (url !== undefined) return { url, authorities };
  const sandbox = findSandbox();
  if (sandbox !== undefined)
    return { url: sandbox.url, authorities: () => [authorities(), sandbox.certificate ?? ""].join("\n") };
  throw new AgentError("cli.usage", "which node? No Caravanserai server is known to ask", {
    exit: exit.usage,
    hint: [
      "Name the server:  --server http://cara.example.com:8080   (or the setting server_url)",
      "Or the agent:     --node host:9090",
    ],
  });
}

function tokenIn(path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  let text: string;
  try {
    text = readFileSync(path, "utf8").trim();
  } catch (error) {
    throw new AgentError("cli.token_file", `--token-file: ${path} cannot be read: ${messageOf(error)}`, {
      exit: exit.usage,
    });
  }
  // Header characters only: a token of several lines would be another request's beginning.
  if (/^[\x21-\x7e]+$/.test(text)) return text;
  throw new AgentError("cli.token_file", `--token-file: ${path} holds no token`, {
    exit: exit.usage,
    hint: "It must be one line without blanks: the value of listen_token on the node.",
  });
}

/** A token in clear is everybody's on the way; on this machine there is no way. */
export const tokenTravelsInClear = ({ url, token }: AgentPlace & Pick<RemoteAgent, "token">): boolean =>
  token !== undefined && crossesInClear(url);

export function warnOfClearToken(agent: RemoteAgent): void {
  if (tokenTravelsInClear(agent))
    warn(`the token travels in clear to ${agent.url}; with TLS there:  --node https://…`);
}

export interface ServiceName {
  readonly project: string;
  readonly service: string;
}

/** "shop/db". Throws AgentError, exit 2. */
export function serviceIn(text: string): ServiceName {
  const [, project, service] = /^([a-z\d][\w.-]*)\/([a-z\d][\w.-]*)$/i.exec(text) ?? [];
  if (project !== undefined && service !== undefined) return { project, service };
  throw new AgentError("cli.usage", `"${text}" is not <project>/<service>`, {
    exit: exit.usage,
    hint: "For example:  shop/db",
  });
}
