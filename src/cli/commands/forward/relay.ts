// Opens a tunnel for each local connection, and finds the service again when its project has moved.
import type { Socket } from "node:net";
import type { RemoteAgent } from "../../../peer/agent-client.ts";
import { openTunnel } from "../../../peer/tunnel.ts";
import { AgentError, messageOf } from "../../../lib/agent-error.ts";
import { type Duration, seconds } from "../../../lib/duration.ts";
import { forwardPath } from "../../../protocol/caravanserai/tunnel.ts";
import type { Locate, ServiceName } from "../../remote-agent.ts";
import { joinTunnel } from "./connection.ts";

/** Shortest time between two requests to the server for the place of a project. */
const LOCATE_PAUSE: Duration = seconds(2);

export interface RelayPorts {
  readonly target: ServiceName;
  readonly locate: Locate;
  /** Called once per change with what fails now, or where the service has moved. */
  readonly tell: (line: string) => void;
}

export type Relay = (local: Socket, remote: number) => Promise<void>;

/** Returns what joins one local socket with the service. `first` is the agent that was found before. */
export function createRelay(
  { target, locate, tell }: RelayPorts,
  first: RemoteAgent,
  signal: AbortSignal,
): Relay {
  let agent = first;
  let locatedAt = performance.now();
  let reported: string | undefined;

  function report(failure: string | undefined): void {
    if (failure !== undefined && failure !== reported && !signal.aborted) tell(failure);
    reported = failure;
  }

  /** Resolves with whether another agent has the service now; `agent` is that one then. */
  async function moved(from: RemoteAgent): Promise<boolean> {
    if (agent.url !== from.url) return true;
    if (performance.now() - locatedAt < LOCATE_PAUSE) return false;
    locatedAt = performance.now();
    const now = await locate(signal).catch(() => from);
    if (now.url === from.url) return false;
    agent = now;
    tell(`${target.project}/${target.service} is on ${now.name} now`);
    return true;
  }

  async function open(remote: number) {
    const path = forwardPath(target.project, target.service, remote);
    const asked = agent;
    try {
      return await openTunnel(asked, path, signal);
    } catch (error) {
      if (!mayHaveMoved(error) || !(await moved(asked))) throw error;
      return openTunnel(agent, path, signal);
    }
  }

  return async (local, remote) => {
    try {
      const tunnel = await open(remote);
      // An open tunnel ends the failure before it: the same one is reported when it comes back.
      reported = undefined;
      report(await joinTunnel(local, tunnel, signal));
    } catch (error) {
      report([messageOf(error), ...(error instanceof AgentError ? error.hint : [])].join("\n  "));
      local.resetAndDestroy();
    }
  };
}

/** Tells whether the project may be elsewhere: the agent has no such container, none that runs, or is unreachable. */
function mayHaveMoved(error: unknown): boolean {
  if (!(error instanceof AgentError)) return false;
  return error.code.startsWith("net.") || error.status === 404 || error.status === 503;
}
