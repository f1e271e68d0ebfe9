// Metrics over HTTP, the fallback of the realtime session: one sample, checked, flattened and stored.
import { badRequest } from "../http/api-error.ts";
import type { MetricRow, NodeRow } from "../entities.ts";
import { type Store, isoNow } from "../store.ts";
import { authenticateBody } from "./auth.ts";
import { markAlive } from "./nodes.ts";
import { type ApiRoute, publicRoute } from "./route.ts";
import { observeVersion } from "./updates.ts";
import {
  type Field,
  type Values,
  anyObject,
  isoDate,
  number,
  optional,
  textField,
  uuidField,
} from "./validation.ts";

const percent = () => optional(number({ min: 0, max: 100 }));
type Json = Record<string, unknown>;

const isObject = (raw: unknown): raw is Json =>
  typeof raw === "object" && raw !== null && !Array.isArray(raw);

/** `networkStats` may be an object, or a list of interfaces. */
const objectOrList: Field<Json | Json[]> = {
  read(raw, name) {
    if (isObject(raw)) return { value: raw };
    if (Array.isArray(raw)) return objectList.read(raw, name);
    return { problems: [`${name} must be an object`] };
  },
};
const objectList: Field<Json[]> = {
  read(raw, name) {
    if (!Array.isArray(raw)) return { problems: [`${name} must be an array`] };
    const value = raw.filter(isObject);
    return value.length === raw.length
      ? { value }
      : { problems: [`each value in ${name} must be an object`] };
  },
};

const Metrics = {
  nodeId: uuidField(),
  agentToken: textField({ min: 32 }),
  cpuUsage: percent(),
  memoryUsage: percent(),
  diskUsage: percent(),
  temperature: optional(number()),
  networkStats: optional(objectOrList),
  networks: optional(objectList),
  cpu: optional(anyObject()),
  memory: optional(anyObject()),
  disk: optional(anyObject()),
  agentVersion: optional(textField()),
  collectedAt: optional(isoDate()),
};

export function metricsRoutes(store: Store): ApiRoute[] {
  return [
    publicRoute({ name: "metrics", path: "/agent/metrics", body: Metrics }, ({ body }) => {
      return storeSample(store, authenticateBody(body, store), body);
    }),
  ];
}

export type Sample = Partial<Omit<Values<typeof Metrics>, "nodeId" | "agentToken">>;

/** Stores one sample and marks the node alive; the realtime session does the same. Throws 400 for a missing value. */
export function storeSample(store: Store, node: NodeRow, sample: Sample): MetricRow {
  const row = store.metrics.insert(flatten(node.id, sample));
  const reported = sample.agentVersion === undefined ? {} : { agentVersion: sample.agentVersion };
  observeVersion(store, markAlive(store, node, reported));
  return row;
}

function flatten(nodeId: string, body: Sample): MetricRow {
  return {
    id: crypto.randomUUID(),
    nodeId,
    cpuUsage: required("cpuUsage", body.cpuUsage, body.cpu?.["usagePercent"]),
    memoryUsage: required("memoryUsage", body.memoryUsage, body.memory?.["usedPercent"]),
    diskUsage: required("diskUsage", body.diskUsage, body.disk?.["usedPercent"]),
    temperature: body.temperature ?? null,
    networkStats: networkStats(body.networkStats, body.networks),
    recordedAt: isoNow(),
  };
}

/** The nested form is taken as it is; the original does not check its range either. */
function required(name: string, direct: number | undefined, inner: unknown): number {
  const value = direct ?? inner;
  if (typeof value !== "number" || !Number.isFinite(value)) throw badRequest(`${name} is required`);
  return value;
}

function networkStats(stats: Json | Json[] | undefined, networks: Json[] | undefined): Json | null {
  if (stats !== undefined && !Array.isArray(stats)) return stats;
  const interfaces = stats ?? networks;
  return interfaces === undefined ? null : sum(interfaces);
}

function sum(interfaces: Json[]): Json {
  const total = (key: string): number =>
    interfaces.reduce((all, one) => all + (typeof one[key] === "number" ? one[key] : 0), 0);
  return {
    rxBytes: total("bytesRecv"),
    txBytes: total("bytesSent"),
    rxPackets: total("packetsRecv"),
    txPackets: total("packetsSent"),
    errorsIn: total("errorsIn"),
    errorsOut: total("errorsOut"),
    dropIn: total("dropIn"),
    dropOut: total("dropOut"),
    interfaces,
  };
}
