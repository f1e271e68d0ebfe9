// Handles `agent.auth`, `agent.ping` and `agent.metrics`.
import * as v from "valibot";
import { ROOT_PROFILES } from "../../protocol/noderax/root-access.ts";
import { authenticateBody } from "../noderax/auth.ts";
import { reported, versionsOf } from "../noderax/heartbeat.ts";
import { storeSample } from "../noderax/metrics.ts";
import { desiredRootAccess, markAlive, reportRootAccess } from "../noderax/nodes.ts";
import { observeVersion } from "../noderax/updates.ts";
import type { Faults } from "../faults.ts";
import { notFound } from "../http/api-error.ts";
import { type Store, isoNow } from "../store.ts";
import { type AgentEvent, agentEvent, iso, maybe, strictly, uuidText } from "./event.ts";

const Auth = v.strictObject({
  type: v.literal("agent.auth"),
  nodeId: uuidText,
  agentToken: v.pipe(v.string(), v.minLength(16)),
  agentVersion: maybe(v.string()),
  platformVersion: maybe(v.string()),
  kernelVersion: maybe(v.string()),
  rootAccess: maybe(
    v.strictObject({
      appliedProfile: maybe(v.picklist(ROOT_PROFILES)),
      lastAppliedAt: maybe(iso),
      lastError: maybe(v.string()),
    }),
  ),
});

const Place = v.strictObject({
  provider: v.string(),
  source: v.string(),
  region: v.string(),
  zone: maybe(v.string()),
  latitude: maybe(v.number()),
  longitude: maybe(v.number()),
});

const LocatedAuth = v.strictObject({ ...Auth.entries, location: maybe(Place) });

/** Checks the credentials and stores the reported versions. Returns the ack; throws the text of the refusal. */
export function authenticate(
  store: Store,
  raw: unknown,
  { acceptLocation }: Pick<Faults, "acceptLocation">,
): { readonly nodeId: string; readonly ack: object } {
  const body = strictly(acceptLocation ? LocatedAuth : Auth, raw);
  const node = authenticateBody({ nodeId: body.nodeId.toLowerCase(), agentToken: body.agentToken }, store);
  const versions = versionsOf({
    agentVersion: body.agentVersion,
    platformVersion: body.platformVersion,
    kernelVersion: body.kernelVersion,
  });
  if (body.rootAccess) reportRootAccess(store, node, body.rootAccess);
  const place = "location" in body && body.location ? { location: body.location } : {};
  observeVersion(store, markAlive(store, node, { ...reported(node, versions), ...place }));
  const rootAccess = desiredRootAccess(node);
  return {
    nodeId: node.id,
    ack: { type: "agent.auth.ack", authenticated: true, nodeId: node.id, rootAccess },
  };
}

const Ping = v.strictObject({ type: v.literal("agent.ping"), timestamp: maybe(iso) });

const record = v.record(v.string(), v.unknown());
const percent = maybe(v.pipe(v.number(), v.minValue(0), v.maxValue(100)));
const Metrics = v.strictObject({
  type: v.literal("agent.metrics"),
  nodeId: uuidText,
  agentToken: v.pipe(v.string(), v.minLength(32)),
  cpuUsage: percent,
  memoryUsage: percent,
  diskUsage: percent,
  temperature: maybe(v.number()),
  networkStats: maybe(v.union([v.array(record), record])),
  networks: maybe(v.array(record)),
  cpu: maybe(record),
  memory: maybe(record),
  disk: maybe(record),
  agentVersion: maybe(v.string()),
  timestamp: maybe(iso),
  collectedAt: maybe(iso),
});

/** Their bodies repeat node and token; those of the session count. */
export function lifeEvents(store: Store): Record<string, AgentEvent> {
  return {
    "agent.ping": agentEvent(Ping, () => ({ ok: true, type: "agent.ping", timestamp: isoNow() })),
    "agent.metrics": agentEvent(Metrics, (body, nodeId) => {
      const node = store.nodes.get(nodeId);
      if (!node) throw notFound(`Node ${nodeId} was not found`);
      storeSample(store, node, body);
      return { ok: true, type: "agent.metrics", nodeId };
    }),
  };
}
