// The Caravanserai server's nodes: registration, heartbeats, changes.
import { ApiError, UnknownError, conflict } from "../http/api-error.ts";
import type { CaraNodeRow } from "../entities.ts";
import { type Store, isoNow } from "../store.ts";
import type { HeartbeatDocument, NodeManifest } from "./manifest.ts";
import { pressures } from "./pressure.ts";

export function findCaraNode(store: Store, name: string): CaraNodeRow {
  const node = store.caraNodes.get(name);
  if (node) return node;
  throw new UnknownError(
    `node "${name}" not found`,
    store.caraNodes.all("1 ORDER BY name").map(({ name }) => name),
  );
}

/** NotReady until its first heartbeat. 409 when there is one of that name. */
export function registerNode(store: Store, given: NodeManifest): CaraNodeRow {
  if (store.caraNodes.get(given.name)) throw conflict(`node "${given.name}" already exists`);
  return store.caraNodes.insert({
    ...given,
    state: "NotReady",
    network: null,
    capacity: null,
    allocatable: null,
    info: null,
    conditions: [],
    lastHeartbeat: null,
    createdAt: isoNow(),
    updatedAt: null,
  });
}

/** Changes the fields of an operator; those that the node reports stay. */
export function changeNode(store: Store, given: NodeManifest): CaraNodeRow {
  const node = findCaraNode(store, given.name);
  return store.caraNodes.save({ ...node, ...given, updatedAt: isoNow() });
}

/** Stores a heartbeat, field by field: missing fields stay. Without a state, a NotReady node stays so. */
export function storeHeartbeat(store: Store, name: string, given: HeartbeatDocument): CaraNodeRow {
  const node = store.caraNodes.get(name);
  if (!node) throw new ApiError(404, `node "${name}" not found`);
  const now = isoNow();
  const capacity = merge(node.capacity, given.capacity);
  const allocatable = merge(node.allocatable, given.allocatable);
  return store.caraNodes.save({
    ...node,
    state: given.state ?? node.state,
    network: merge(node.network, given.network),
    capacity,
    allocatable,
    info: merge(node.info, given.info),
    conditions: pressures(node.conditions, capacity, allocatable, now),
    lastHeartbeat: now,
  });
}

function merge<T extends object>(known: T | null, given: Partial<T> | null | undefined): T | null {
  // A first heartbeat is a partial T: all its fields are optional.
  return given ? ({ ...known, ...given } as T) : known;
}

/** Sets silent nodes to NotReady. Returns their names. */
export function dropSilentNodes(store: Store, silence: number): string[] {
  const silent = store.caraNodes.all(
    "state != 'NotReady' AND (lastHeartbeat IS NULL OR lastHeartbeat <= ?) ORDER BY name",
    isoNow(-silence),
  );
  for (const { name } of silent) store.caraNodes.update(name, { state: "NotReady" });
  return silent.map(({ name }) => name);
}
