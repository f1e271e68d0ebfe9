// The node on the server: registered, and its heartbeat, on a loop of its own that nothing can hold up, Docker least.
//
// A stop says nothing to the server: NotReady would move the projects away from an agent that is merely restarted, and
// the containers run on.
import { steadyNow } from "../../lib/clock.ts";
import { AgentError, messageOf, hasCode, isStatus } from "../../lib/agent-error.ts";
import { jitter } from "../../lib/backoff.ts";
import { type Duration, minutes, seconds } from "../../lib/duration.ts";
import { type LoopReport, type LoopRegistry, type Wake, loop, sleep } from "../../lib/loop.ts";
import type { CaravanseraiApi } from "../../control/caravanserai-api.ts";
import { pauseAfter, retry } from "../../control/retry.ts";
import type { Log } from "../../platform/log.ts";
import {
  API_VERSION,
  type NodeHeartbeat,
  type NodeInfo,
  type NodeRegistration,
  type NodeState,
} from "../../protocol/caravanserai/resources.ts";
import type { Continuity } from "./continuity.ts";
import type { ReadResources } from "./capacity.ts";

/**
 * Ready means that projects may come here. Docker's restart or upgrade is over in this time and moves nothing; a machine
 * whose Docker is away for longer would take every project and start none, and what it ran has ended with Docker.
 */
export const DOCKER_TIMEOUT: Duration = minutes(5);

/** A Docker that has not answered yet may be starting beside us. */
const DOCKER_GRACE: Duration = seconds(10);

export interface DockerView {
  /** Whether it was reached since the agent started. */
  readonly wasReached: boolean;
  /** For how long it has been unreachable; 0 while it can be reached. */
  readonly unreachableFor: Duration;
}

/**
 * Undefined: nothing is said of it, and on the server it stands as it was. So an agent that is restarted does not drive its
 * projects away before it has asked Docker, and a machine without Docker has never been Ready.
 */
export function nodeState(
  draining: boolean,
  { wasReached, unreachableFor }: DockerView,
): NodeState | undefined {
  if (draining) return "Draining";
  if (!wasReached) return unreachableFor < DOCKER_GRACE ? undefined : "NotReady";
  return unreachableFor >= DOCKER_TIMEOUT ? "NotReady" : "Ready";
}

export interface NodePorts {
  readonly api: Pick<CaravanseraiApi, "register" | "heartbeat" | "nodePlace">;
  readonly name: string;
  readonly continuity: Pick<Continuity, "memory" | "registeredAt" | "forgot">;
  readonly info: NodeInfo;
  readonly state: () => NodeState | undefined;
  /** Address and port under which others reach this node; undefined while there is no route to the server. */
  readonly address: () => Promise<string | undefined>;
  /** Undefined while it is not known. */
  readonly agentPort: () => number | undefined;
  readonly resources: ReadResources;
  readonly registry: LoopRegistry;
  /** Called when the server answers again. */
  readonly wake?: Wake;
  readonly log: Log;
  readonly random?: () => number;
}

export interface Node {
  /** What the server was told last; undefined before it was told of any state. */
  told(): NodeState | undefined;
  /** The state may have changed: if so the server is told at once. */
  hurry(): void;
  readonly done: Promise<void>;
}

/** First heartbeat at once, then every `every`. */
export function startNode(ports: NodePorts, every: Duration, signal: AbortSignal): Node {
  const { api, name, continuity, registry, log, random = Math.random } = ports;
  // Not registered again at a start: the 404 to a heartbeat is what tells that the server has forgotten this node.
  let registered = continuity.memory() !== undefined;
  let identified = false;
  let told: NodeState | undefined;
  let network: Partial<NodeHeartbeat> = {};
  let hurried = Promise.withResolvers<void>();

  async function register(signal: AbortSignal): Promise<void> {
    const body: NodeRegistration = {
      apiVersion: API_VERSION,
      kind: "Node",
      metadata: { name },
      // The other agent knows one name only.
      spec: { hostname: name },
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
    const agentPort = ports.agentPort();
    if (ip !== undefined)
      network = { network: { ip, mode: "Direct", ...(agentPort === undefined ? {} : { agentPort }) } };
    await api.heartbeat(
      name,
      { ...(state && { state }), ...network, ...resources, info: ports.info },
      signal,
    );
    if (told !== undefined && state !== undefined && told !== state)
      log.info("node", `${name} is ${state} now`);
    told = state ?? told;
  }

  /** Asks when the server registered this node. A failure is no failure of the heartbeat: it is asked again with the next. */
  async function identify(signal: AbortSignal): Promise<void> {
    const place = await api.nodePlace(name, signal).catch((error: unknown) => {
      if (!(error instanceof AgentError)) throw error;
    });
    if (place === undefined) return;
    continuity.registeredAt(place.metadata.createdAt);
    identified = true;
  }

  /** Until the next heartbeat is due, or something has happened that it would tell of. */
  async function rest(report: LoopReport, signal: AbortSignal): Promise<void> {
    const pause = jitter(ports.state() === undefined ? Math.min(every, DOCKER_GRACE) : every, 0.1, random);
    report.works();
    report.waitsUntil(steadyNow() + pause);
    const enough = new AbortController();
    const over = sleep(pause, signal, enough.signal).then(() => true);
    while (!(await Promise.race([over, hurried.promise.then(() => false)])) && ports.state() === told)
      hurried = Promise.withResolvers();
    enough.abort();
  }

  const done = loop(
    {
      name: "node",
      every,
      retry: retry.node,
      random,
      wake: ports.wake,
      onError(error, { record: { consecutiveFailures: failures } }, pause) {
        const refused = hasCode(error, "node.name");
        if (failures === 1)
          log[refused ? "error" : "warn"]("node", `heartbeat not delivered: ${messageOf(error)}`);
        if (refused) return retry.nodeName.base;
        // Never rarer than it should be: an interval of a second must not end in pauses of fifteen.
        return pauseAfter(error, Math.min(pause, Math.max(every, seconds(1))));
      },
    },
    async (signal, report) => {
      hurried = Promise.withResolvers();
      if (!registered) await register(signal);
      try {
        await beat(signal);
      } catch (error) {
        if (!isStatus(error, 404)) throw error;
        log.warn("node", `the server does not know ${name} any more: registering again`);
        // On disk before the node is registered again: from then on the server seems to know it.
        continuity.forgot("the server does not know this node any more");
        [registered, identified] = [false, false];
        await register(signal);
        await beat(signal);
      }
      if (!identified) await identify(signal);
      if (report.record.consecutiveFailures > 0) {
        log.info("node", "heartbeat delivered again");
        ports.wake?.call();
      }
      report.note(`${name} · ${told ?? "waiting for Docker"}`);
      await rest(report, signal);
      return 0;
    },
    registry,
    signal,
  );
  return { told: () => told, hurry: () => hurried.resolve(), done };
}
