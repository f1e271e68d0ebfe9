// Local connections, each through a tunnel of its own, to wherever the service is at that time.
import type { Socket } from "node:net";
import type { RemoteAgent } from "../../../peer/agent-client.ts";
import { openTunnel } from "../../../peer/tunnel.ts";
import { AgentError, messageOf } from "../../../lib/agent-error.ts";
import { type Duration, seconds } from "../../../lib/duration.ts";
import { forwardPath } from "../../../protocol/caravanserai/tunnel.ts";
import type { Locate, ServiceName } from "../../remote-agent.ts";
import { joinTunnel } from "./connection.ts";

/** The server is not asked more often than this where a project is, whatever fails. */
const LOOK_PAUSE: Duration = seconds(2);

export interface RelayPorts {
  readonly target: ServiceName;
  readonly locate: Locate;
  /** Told once a change: what goes wrong now, or where the service has moved. */
  readonly tell: (line: string) => void;
}

export type Relay = (local: Socket, remote: number) => Promise<void>;

/** `first` is where the service was found. */
export function createRelay(
  { target, locate, tell }: RelayPorts,
  first: RemoteAgent,
  signal: AbortSignal,
): Relay {
  let agent = first;
  let lookedAt = performance.now();
  let told: string | undefined;

  function trouble(what: string | undefined): void {
    if (what !== undefined && what !== told && !signal.aborted) tell(what);
    told = what;
  }

  /** The agent that has the service now, when it is another one. */
  async function moved(from: RemoteAgent): Promise<boolean> {
    if (agent.url !== from.url) return true;
    if (performance.now() - lookedAt < LOOK_PAUSE) return false;
    lookedAt = performance.now();
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
      trouble(await opened(joinTunnel(local, tunnel, signal)));
    } catch (error) {
      trouble([messageOf(error), ...(error instanceof AgentError ? error.hint : [])].join("\n  "));
      local.resetAndDestroy();
    }
  };

  /** That it was opened ends the trouble before it: what comes again is worth a word again. */
  function opened<T>(joined: T): T {
    told = undefined;
    return joined;
  }
}

/** It knows no such container, none that runs, or does not answer at all. */
function mayHaveMoved(error: unknown): boolean {
  if (!(error instanceof AgentError)) return false;
  return error.code.startsWith("net.") || error.status === 404 || error.status === 503;
}
