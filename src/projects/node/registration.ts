// Registers the node and sends its heartbeat, in a loop of its own that nothing delays, least of all Docker.
//
// A stop reports nothing to the server: NotReady would move the projects away from an agent that is only restarted, and the
// containers keep running.
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
 * Ready means that projects may be scheduled here. A restart or upgrade of Docker takes less than this and moves nothing. A
 * machine without Docker for longer would get projects and start none, and its own have ended with Docker.
 */
export const DOCKER_TIMEOUT: Duration = minutes(5);

/** Docker may be starting at the same time as the agent. */
const DOCKER_GRACE: Duration = seconds(10);

export interface DockerView {
  /** Whether it was reached since the agent started. */
  readonly wasReached: boolean;
  /** For how long it has been unreachable; 0 while it can be reached. */
  readonly unreachableFor: Duration;
}

/**
 * Undefined: no state is reported, and the server keeps the last one. So a restarted agent does not move its projects away
 * before it has asked Docker, and a machine without Docker is never Ready.
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
  /** The address under which others reach this node; undefined while there is no route to the server. */
  readonly address: () => Promise<string | undefined>;
  /** Undefined while unknown. */
  readonly agentPort: () => number | undefined;
  readonly resources: ReadResources;
  readonly registry: LoopRegistry;
  /** Called when the server answers again. */
  readonly wake?: Wake;
  readonly log: Log;
  readonly random?: () => number;
}

export interface Node {
  /** The state that was reported last; undefined before the first report of one. */
  reported(): NodeState | undefined;
  /** Reports the state at once when it changed. */
  hurry(): void;
  readonly done: Promise<void>;
}

/** Sends the first heartbeat at once, then every `every`. */
export function startNode(ports: NodePorts, every: Duration, signal: AbortSignal): Node {
  const { api, name, continuity, registry, log, random = Math.random } = ports;
  // Do not register again at a start: a 404 to the heartbeat shows that the server no longer knows this node.
  let registered = continuity.memory() !== undefined;
  let identified = false;
  let reported: NodeState | undefined;
  let network: Partial<NodeHeartbeat> = {};
  let hurried = Promise.withResolvers<void>();

  async function register(signal: AbortSignal): Promise<void> {
    const body: NodeRegistration = {
      apiVersion: API_VERSION,
      kind: "Node",
      metadata: { name },
      // The Go agent uses one name for both.
      spec: { hostname: name },
    };
    await api.register(body, signal).catch((error: unknown) => {
      if (!isStatus(error, 400)) throw error;
      throw new AgentError(
        "node.name",
        `the server refuses the node name "${name}": ${messageOf(error)}; set node_name`,
        { cause: error },
      );
    });
    registered = true;
    log.info("node", `registered as ${name}`);
  }

  async function beat(signal: AbortSignal): Promise<void> {
    const state = ports.state();
    const [ip, resources] = await Promise.all([ports.address(), ports.resources().catch(() => ({}))]);
    // The server keeps the last value of a field that is missing.
    const agentPort = ports.agentPort();
    if (ip !== undefined)
      network = { network: { ip, mode: "Direct", ...(agentPort === undefined ? {} : { agentPort }) } };
    await api.heartbeat(
      name,
      { ...(state && { state }), ...network, ...resources, info: ports.info },
      signal,
    );
    if (reported !== undefined && state !== undefined && reported !== state)
      log.info("node", `${name} is ${state} now`);
    reported = state ?? reported;
  }

  /** Asks when the server registered this node. An error does not fail the heartbeat: the next one asks again. */
  async function identify(signal: AbortSignal): Promise<void> {
    const place = await api.nodePlace(name, signal).catch((error: unknown) => {
      if (!(error instanceof AgentError)) throw error;
    });
    if (place === undefined) return;
    continuity.registeredAt(place.metadata.createdAt);
    identified = true;
  }

  /** Waits until the next heartbeat is due, or the state changed. */
  async function rest(report: LoopReport, signal: AbortSignal): Promise<void> {
    const pause = jitter(ports.state() === undefined ? Math.min(every, DOCKER_GRACE) : every, 0.1, random);
    report.works();
    report.waitsUntil(steadyNow() + pause);
    const enough = new AbortController();
    const over = sleep(pause, signal, enough.signal).then(() => true);
    while (!(await Promise.race([over, hurried.promise.then(() => false)])) && ports.state() === reported)
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
        // At most the interval: an interval of 1 s must not lead to pauses of 15 s.
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
        // On disk before the node registers again: after that the server answers as if it had its data.
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
      report.note(`${name} · ${reported ?? "waiting for Docker"}`);
      await rest(report, signal);
      return 0;
    },
    registry,
    signal,
  );
  return { reported: () => reported, hurry: () => hurried.resolve(), done };
}
