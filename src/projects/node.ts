// The node on the server: registered, and its heartbeat, on a loop of its own that nothing can hold up, Docker least.
//
// A stop says nothing to the server: NotReady would move the projects away from an agent that is merely restarted, and
// the containers run on.
import { AgentError, messageOf } from "../lib/agent-error.ts";
import { backoff } from "../lib/backoff.ts";
import { type Duration, minutes, seconds } from "../lib/duration.ts";
import { type LoopRegistry, loop } from "../lib/loop.ts";
import type { CaravanseraiApi } from "../control/caravanserai-api.ts";
import { pauseAfter, retry } from "../control/retry.ts";
import type { Log } from "../platform/log.ts";
import {
  API_VERSION,
  type NodeHeartbeat,
  type NodeRegistration,
  type NodeState,
} from "../protocol/caravanserai/resources.ts";
import type { ReadResources } from "./resources.ts";

/**
 * Ready means that projects may come here. Docker's restart or upgrade is over in this time and moves nothing; a machine
 * whose Docker is away for longer would take every project and start none, and what it ran has ended with Docker.
 */
export const DOCKER_PATIENCE: Duration = minutes(5);

/** `dockerAway`: for how long Docker could not be reached; 0 while it can. */
export function nodeState(draining: boolean, dockerAway: Duration): NodeState {
  if (draining) return "Draining";
  return dockerAway >= DOCKER_PATIENCE ? "NotReady" : "Ready";
}

export interface NodePorts {
  readonly api: Pick<CaravanseraiApi, "register" | "heartbeat">;
  readonly name: string;
  readonly hostname: string;
  readonly state: () => NodeState;
  /** Address and port under which others reach this node; undefined while there is no route to the server. */
  readonly address: () => Promise<string | undefined>;
  readonly agentPort: () => number;
  readonly resources: ReadResources;
  readonly registry: LoopRegistry;
  readonly log: Log;
  readonly random?: () => number;
}

export interface Node {
  /** What the server was told last; undefined before the first heartbeat. */
  told(): NodeState | undefined;
  readonly done: Promise<void>;
}

/** A name that the server does not take is asked for again, but rarely: only a person can help. */
const REFUSED_PAUSE: Duration = minutes(5);

/** First heartbeat at once, then every `every`. */
export function startNode(ports: NodePorts, every: Duration, signal: AbortSignal): Node {
  const { api, name, registry, log, random = Math.random } = ports;
  let registered = false;
  let told: NodeState | undefined;
  let network: Partial<NodeHeartbeat> = {};

  async function register(signal: AbortSignal): Promise<void> {
    const body: NodeRegistration = {
      apiVersion: API_VERSION,
      kind: "Node",
      metadata: { name },
      spec: { hostname: ports.hostname },
    };
    await api.register(body, signal).catch((error: unknown) => {
      if (!isStatus(error, 400)) throw error;
      throw new AgentError(
        "node.name",
        `the server does not take the node name "${name}": ${messageOf(error)}; set node_name`,
        { cause: error },
      );
    });
    registered = true;
    log.info("node", `registered as ${name}`);
  }

  async function beat(signal: AbortSignal): Promise<void> {
    const state = ports.state();
    const [ip, resources] = await Promise.all([ports.address(), ports.resources().catch(() => ({}))]);
    // What is left out stands on the server as it was.
    if (ip !== undefined) network = { network: { ip, mode: "Direct", agentPort: ports.agentPort() } };
    await api.heartbeat(name, { state, ...network, ...resources }, signal);
    if (told !== undefined && told !== state) log.info("node", `${name} is ${state} now`);
    told = state;
  }

  const done = loop(
    {
      name: "node",
      every,
      onError(error, { consecutiveFailures: failures }) {
        const refused = error instanceof AgentError && error.code === "node.name";
        if (failures === 1)
          log[refused ? "error" : "warn"]("node", `heartbeat not delivered: ${messageOf(error)}`);
        if (refused) return REFUSED_PAUSE;
        // Never rarer than it should be: an interval of a second must not end in pauses of fifteen.
        const pause = Math.min(backoff(retry.node, failures, random), Math.max(every, seconds(1)));
        return pauseAfter(error, pause);
      },
    },
    async (signal, record) => {
      if (!registered) await register(signal);
      try {
        await beat(signal);
      } catch (error) {
        if (!isStatus(error, 404)) throw error;
        log.warn("node", `the server does not know ${name} any more: registering again`);
        registered = false;
        await register(signal);
        await beat(signal);
      }
      if (record.consecutiveFailures > 0) log.info("node", "heartbeat delivered again");
      record.note = `${name} · ${told ?? ""}`;
    },
    registry,
    signal,
  );
  return { told: () => told, done };
}

const isStatus = (error: unknown, status: number): boolean =>
  error instanceof AgentError && error.code === "http.status" && error.status === status;
