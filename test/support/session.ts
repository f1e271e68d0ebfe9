// An agent whose way to the sandbox leads over a network of the test's, and sentences about its realtime session.
import type { Duration } from "../../src/lib/duration.ts";
import type { Status } from "../../src/agent/status.ts";
import {
  type AgentNode,
  NODE,
  type NodeOptions,
  type ProcessNode,
  enrolledAgent,
  enrolledProcess,
} from "./agent.ts";
import { until } from "./until.ts";
import type { Network } from "./network.ts";

/** A long claim, so that what a claim would bring comes by the session or not at all; metrics and pings as fast as can be. */
export const BRISK = {
  task_poll_interval: "30s",
  metrics_interval: "1s",
  realtime_ping_interval: "200ms",
  // A busy machine answers after seconds; tests of the limit set their own.
  request_timeout: "8s",
};

export type SessionStatus = NonNullable<NonNullable<Status["noderax"]>["session"]>;

const through = (network: Network, { settings, ...options }: NodeOptions): NodeOptions => ({
  ...options,
  settings: { ...BRISK, api_url: network.url, ...settings },
  started: false,
});

/** `started: false` is left to the test, as ever. */
export async function agentBehind(network: Network, options: NodeOptions = {}): Promise<AgentNode> {
  const node = await enrolledAgent(through(network, options));
  network.leadsTo(node.sandbox.port);
  if (options.started !== false) await node.starts();
  return node;
}

export async function processBehind(network: Network, options: NodeOptions = {}): Promise<ProcessNode> {
  const node = await enrolledProcess(through(network, options));
  network.leadsTo(node.sandbox.port);
  if (options.started !== false) await node.starts();
  return node;
}

export const sessionOf = (status: Status): SessionStatus | undefined => status.noderax?.session ?? undefined;

/** Waits until the session is online, for the `reconnects`th time again if that is given. */
export async function sessionOnline(
  node: AgentNode | ProcessNode,
  { reconnects = 0, within }: { reconnects?: number; within?: Duration } = {},
): Promise<void> {
  await node.statusBecomes(
    `the session is online (${reconnects} reconnects)`,
    (status) => sessionOf(status)?.state === "online" && sessionOf(status)?.reconnects === reconnects,
    within,
  );
}

/** Waits until the session says which kind of trouble keeps it offline. */
export async function sessionFails(node: AgentNode | ProcessNode, failure: string): Promise<SessionStatus> {
  const status = await node.statusBecomes(
    `the session fails with ${failure}`,
    (now) => sessionOf(now)?.failure === failure,
  );
  const session = sessionOf(status);
  if (session === undefined) throw new Error("there is no session");
  return session;
}

/** How often the control plane saw the node go offline: each time it alerts. */
export const alerts = ({ sandbox }: AgentNode | ProcessNode): number =>
  sandbox.events().filter(({ type }) => type === "node.offline").length;

export const nodeIs = (
  node: AgentNode | ProcessNode,
  status: "online" | "offline",
  within?: Duration,
): Promise<void> =>
  until(
    `the node is ${status}`,
    () => node.sandbox.node(NODE).status === status,
    within,
    () => node.story(),
  );

export async function identityOf(
  node: AgentNode | ProcessNode,
): Promise<{ node_id: string; agent_token: string }> {
  return JSON.parse(await Bun.file(node.stateFile).text()) as { node_id: string; agent_token: string };
}
