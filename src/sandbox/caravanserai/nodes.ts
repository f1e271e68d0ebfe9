// The Caravanserai server's nodes: registered, heard of, changed, forgotten.
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
export function registerNode(store: Store, told: NodeManifest): CaraNodeRow {
  if (store.caraNodes.get(told.name)) throw conflict(`node "${told.name}" already exists`);
  return store.caraNodes.insert({
    ...told,
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

/** What an operator may change; what the node tells of itself stays. */
export function changeNode(store: Store, told: NodeManifest): CaraNodeRow {
  const node = findCaraNode(store, told.name);
  return store.caraNodes.save({ ...node, ...told, updatedAt: isoNow() });
}

/** Merges field by field: what is not told stays. Without a state, a NotReady node stays so. */
export function hearOf(store: Store, name: string, told: HeartbeatDocument): CaraNodeRow {
  const node = store.caraNodes.get(name);
  if (!node) throw new ApiError(404, `node "${name}" not found`);
  const now = isoNow();
  const capacity = merge(node.capacity, told.capacity);
  const allocatable = merge(node.allocatable, told.allocatable);
  return store.caraNodes.save({
    ...node,
    state: told.state ?? node.state,
    network: merge(node.network, told.network),
    capacity,
    allocatable,
    info: merge(node.info, told.info),
    conditions: pressures(node.conditions, capacity, allocatable, now),
    lastHeartbeat: now,
  });
}

function merge<T extends object>(known: T | null, told: Partial<T> | null | undefined): T | null {
  // A partial T over nothing is what a first heartbeat is: all fields of it are optional.
  return told ? ({ ...known, ...told } as T) : known;
}

/** Nodes that were silent for too long are NotReady. Returns their names. */
export function dropSilentNodes(store: Store, silence: number): string[] {
  const silent = store.caraNodes.all(
    "state != 'NotReady' AND (lastHeartbeat IS NULL OR lastHeartbeat <= ?) ORDER BY name",
    isoNow(-silence),
  );
  for (const { name } of silent) store.caraNodes.update(name, { state: "NotReady" });
  return silent.map(({ name }) => name);
}
