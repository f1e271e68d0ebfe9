// `forward`: listens on ports of this machine and tunnels each connection to a service's container, on whichever node it is.
import { type AddressInfo, type Server, createServer } from "node:net";
import { errnoOf } from "../../lib/errno.ts";
import { formatHostPort } from "../../lib/address.ts";
import { type RemoteAgent, askAgent, isProblem, refusalError, readRefusal } from "../../peer/agent-client.ts";
import { AgentError, type ExitCode, exit } from "../../lib/agent-error.ts";
import { forwardPath, portOf } from "../../protocol/caravanserai/tunnel.ts";
import { whyNotListening } from "../../platform/listen-failure.ts";
import { command } from "../command.ts";
import { type Relay, createRelay } from "./forward/relay.ts";
import { interruption } from "../interruption.ts";
import { note, print } from "../ui/output.ts";
import {
  type ServiceName,
  agentLocator,
  remoteAgentFlags,
  parseServiceName,
  warnOfClearToken,
} from "../remote-agent.ts";

export default command({
  name: "forward",
  description: "make ports of a service's container reachable on this machine",
  examples: [
    "forward shop/db 5432",
    "forward shop/web 8080:80 9229",
    "forward shop/db 0:5432 --node 10.0.3.7:9090 --token-file ~/listen-token",
  ],
  args: {
    service: { type: "positional", required: true, description: "<project>/<service>" },
    address: {
      type: "string",
      default: "127.0.0.1",
      valueHint: "ADDRESS",
      description: "local address to listen on",
    },
    ...remoteAgentFlags,
  },
  rest: {
    name: "[LOCAL:]REMOTE",
    description: "local port, 0 for a free one, and the container's",
    required: true,
  },
  async run({ args, rest }): Promise<ExitCode> {
    const target = parseServiceName(args.service);
    const mappings = rest.map(parsePortMapping);
    const { signal, code } = interruption();
    const locate = await agentLocator(args, target.project);
    const agent = await locate(signal);
    await check(agent, target, mappings, signal);
    const relay = createRelay({ target, locate, tell: note }, agent, signal);
    const listening: { readonly server: Server; readonly line: string }[] = [];
    for (const mapping of mappings) {
      const server = await listen(mapping, args.address, relay);
      const { address, port } = server.address() as AddressInfo;
      const there = `${target.project}/${target.service}:${mapping.remote} on ${agent.name}`;
      listening.push({ server, line: `forwarding ${formatHostPort(address, port)} → ${there}` });
    }
    warnOfClearToken(agent);
    // Printed once all of them listen: a script that has read one line may connect to any port.
    for (const { line } of listening) print(line);
    const left = await code;
    for (const { server } of listening) server.close();
    return left;
  },
});

/** Which port of this machine leads to which port of the service. */
export interface PortMapping {
  /** 0 for any free port. */
  readonly local: number;
  readonly remote: number;
}

/** Parses "[LOCAL:]REMOTE". Throws "cli.usage". */
export function parsePortMapping(text: string): PortMapping {
  const [first = "", second, ...more] = text.split(":");
  const remote = portOf(second ?? first);
  const local = second === undefined ? remote : first === "0" ? 0 : portOf(first);
  if (remote !== undefined && local !== undefined && more.length === 0) return { local, remote };
  throw new AgentError("cli.usage", `"${text}" is not [LOCAL:]REMOTE`, {
    exit: exit.usage,
    hint: "Ports are 1 to 65535; LOCAL may be 0 for a free one:  5432   15432:5432   0:80",
  });
}

/** Asks for the first port without an upgrade, to which an agent that would tunnel answers 426. Throws its refusal. */
async function check(
  agent: RemoteAgent,
  { project, service }: ServiceName,
  mappings: readonly PortMapping[],
  signal: AbortSignal,
): Promise<void> {
  for (const { remote } of mappings.slice(0, 1)) {
    const refusal = await readRefusal(await askAgent(agent, forwardPath(project, service, remote), signal));
    // Other agents answer a request that is not a handshake with 400 and no problem document.
    const willing = refusal.status === 426 || (refusal.status === 400 && !isProblem(refusal));
    if (!willing) throw refusalError(refusal, agent);
  }
}

function listen({ local, remote }: PortMapping, host: string, relay: Relay): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
      socket.on("error", () => {}); // Until the tunnel is open; from then on `close` is handled.
      void relay(socket, remote);
    });
    server.once("error", (error) => {
      void notListening(error, host, { local, remote }).then(reject);
    });
    server.listen(local, host, () => resolve(server));
  });
}

async function notListening(
  error: unknown,
  host: string,
  { local, remote }: PortMapping,
): Promise<AgentError> {
  const why = await whyNotListening(error, local);
  const hint =
    errnoOf(error) === "EADDRNOTAVAIL" ? "See --address." : `Take another local port:  0:${remote}`;
  return new AgentError("forward.listen", `cannot listen on ${host}:${local}: ${why}`, {
    hint,
    cause: error,
  });
}
