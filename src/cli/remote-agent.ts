// Finds the agent that `forward` and `logs` talk to: which node, its address, its token.
import { readFileSync } from "node:fs";
import { formatHostPort, parseHostPort, crossesInClear } from "../lib/address.ts";
import { type AgentPlace, type RemoteAgent, parseAgentAddress, findAgent } from "../peer/agent-client.ts";
import { trustedAuthorities } from "../control/trust.ts";
import { stateDirectory } from "../agent/agent.ts";
import type { Settings } from "../config/options.ts";
import { AgentError, exit, messageOf } from "../lib/agent-error.ts";
import { askAccess, askStatus } from "../agent/control-socket.ts";
import type { CaravanseraiStatus } from "../agent/status.ts";
import { findSandboxes } from "../sandbox/announce.ts";
import { configFrom } from "./config-flags.ts";
import { warn } from "./ui/output.ts";
import { settingsOfAgent } from "./running-agent.ts";
import { sandboxHere } from "./commands/sandbox/client.ts";

/** The flags that choose the agent. The token has no flag: other users of the machine can read argv. */
export const remoteAgentFlags = {
  node: {
    type: "string",
    valueHint: "HOST:PORT",
    description: "the agent's address, or https://HOST:PORT (default: ask the server)",
  },
  server: {
    type: "string",
    alias: "server-url",
    valueHint: "URL",
    description: "the Caravanserai server to ask for the node (default: that of the agent or sandbox here)",
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
    description: "PEM certificate of an additional authority to trust",
  },
  config: { type: "string", valueHint: "FILE", description: "read this configuration file and no other" },
} as const;

type Flags = { readonly [K in keyof typeof remoteAgentFlags]?: string | undefined };

/** Finds the agent that runs the project now; each call asks again. */
export type Locate = (signal: AbortSignal) => Promise<RemoteAgent>;

/**
 * Returns how to find the agent: `--node`; else the agent of this machine when it runs the project; else the node that the
 * server names. The server is that of `--server`, the configuration, the agent of this machine, or a sandbox of this user.
 * The locator throws "cli.usage" when no server is known.
 */
export async function agentLocator(flags: Flags, project: string): Promise<Locate> {
  const config = await configFrom({
    config: flags.config,
    "server-url": flags.server,
    "api-tls-ca-file": flags.ca,
  });
  const { settings } = config;
  const token = tokenIn(flags["token-file"]) ?? settings.listen_token;
  const authorities = (): string => trustedAuthorities(settings.api_tls_ca_file);
  const access = { token, authorities };
  if (flags.node !== undefined) {
    const place = parseAgentAddress(flags.node);
    return () => Promise.resolve({ ...place, ...access });
  }
  const asksHere = flags.server === undefined;
  const state = asksHere ? settingsOfAgent(config) : settings;
  const here = asksHere ? await agentHere(state) : undefined;
  const server = serverFor(settings.server_url ?? here?.server_url, authorities);
  return async (signal) => {
    const now = asksHere ? await agentHere(state) : undefined;
    const place = now && placeOf(now, project);
    if (place !== undefined) return { ...place, ...access, token: token ?? (await tokenHere(state)) };
    return { ...(await findAgent(server(), project, signal)), ...access };
  };
}

/** Asks the agent of this machine for its status; `undefined` when none answers, or it has no Caravanserai server. */
async function agentHere(state: Pick<Settings, "state_file">): Promise<CaravanseraiStatus | undefined> {
  const status = await askStatus(stateDirectory(state)).catch(() => undefined);
  return status?.caravanserai ?? undefined;
}

const tokenHere = async (state: Pick<Settings, "state_file">): Promise<string | undefined> =>
  (await askAccess(stateDirectory(state)))?.listen_token ?? undefined;

/**
 * Returns the loopback address of this machine's agent if it runs the project; else `undefined`. Also `undefined` with TLS: its
 * certificate does not name the loopback address.
 */
export function placeOf(
  { node, projects, listener }: Pick<CaravanseraiStatus, "node" | "projects" | "listener">,
  project: string,
): AgentPlace | undefined {
  const { host, port } = parseHostPort(listener?.address ?? "") ?? {};
  if (host === undefined || port === undefined || listener?.tls === true) return undefined;
  if (!projects.some(({ name }) => name === project)) return undefined;
  const loopback = host === "::" || host === "0.0.0.0" ? "127.0.0.1" : host;
  return { name: node, url: `http://${formatHostPort(loopback, port)}` };
}

type Server = () => { readonly url: string; readonly authorities: () => string };

/** Returns the server lazily. It throws "cli.usage" only when called: the agent of this machine needs no server. */
function serverFor(named: string | undefined, authorities: () => string): Server {
  return () => {
    const sandbox = named === undefined ? sandboxHere() : findSandboxes().find(({ url }) => url === named);
    const url = named ?? sandbox?.url;
    if (url !== undefined)
      return { url, authorities: () => [authorities(), sandbox?.certificate ?? ""].join("\n") };
    throw new AgentError("cli.usage", "the node is unknown, and there is no Caravanserai server to ask", {
      exit: exit.usage,
      hint: [
        "Name the server:  --server http://cara.example.com:8080   (or the setting server_url)",
        "Or the agent:     --node host:9090",
      ],
    });
  };
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
  // Header characters only: a line break would start another header or request.
  if (/^[\x21-\x7e]+$/.test(text)) return text;
  throw new AgentError("cli.token_file", `--token-file: ${path} contains no token`, {
    exit: exit.usage,
    hint: "The file must hold one line without blanks: the value of listen_token on the node.",
  });
}

/** Tells whether the token would cross a network unencrypted; loopback does not count. */
export const tokenTravelsInClear = ({ url, token }: AgentPlace & Pick<RemoteAgent, "token">): boolean =>
  token !== undefined && crossesInClear(url);

/** Warns when the token crosses a network unencrypted. */
export function warnOfClearToken(agent: RemoteAgent): void {
  if (tokenTravelsInClear(agent))
    warn(`the token goes to ${agent.url} in clear text; if the agent has TLS:  --node https://…`);
}

export interface ServiceName {
  readonly project: string;
  readonly service: string;
}

/** Parses "shop/db". Throws "cli.usage". */
export function parseServiceName(text: string): ServiceName {
  const [, project, service] = /^([a-z\d][\w.-]*)\/([a-z\d][\w.-]*)$/i.exec(text) ?? [];
  if (project !== undefined && service !== undefined) return { project, service };
  throw new AgentError("cli.usage", `"${text}" is not <project>/<service>`, {
    exit: exit.usage,
    hint: "For example:  shop/db",
  });
}
