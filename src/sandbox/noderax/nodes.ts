// Nodes: their creation, and their signs of life.
import { randomBytes } from "node:crypto";
import type { RootProfile } from "../../protocol/noderax/root-access.ts";
import { conflict } from "../http/api-error.ts";
import type { EventRow, NodeRow } from "../entities.ts";
import { type Store, isoNow } from "../store.ts";

type Facts = Pick<
  NodeRow,
  "name" | "hostname" | "os" | "arch" | "agentVersion" | "platformVersion" | "kernelVersion"
>;

/** 64 hex characters. */
export const newAgentToken = (): string => randomBytes(32).toString("hex");

/** A new node, offline until its first sign of life. Hostnames are unique: 409. */
export function insertNode(store: Store, facts: Facts): NodeRow {
  if (store.nodes.find("hostname = ?", facts.hostname)) {
    throw conflict("A node with this hostname already exists");
  }
  return store.nodes.insert({
    id: crypto.randomUUID(),
    ...facts,
    agentToken: newAgentToken(),
    status: "offline",
    lastSeenAt: null,
    maintenance: false,
    location: null,
    rootProfile: "off",
    rootUpdatedAt: null,
    appliedProfile: "off",
    lastAppliedAt: null,
    lastError: null,
    createdAt: isoNow(),
  });
}

/** Sets the node online and seen now, with the other fields of the sign of life. */
export function markAlive(store: Store, node: NodeRow, reported: Partial<NodeRow> = {}): NodeRow {
  const change: Partial<NodeRow> = { ...reported, status: "online", lastSeenAt: isoNow() };
  store.nodes.update(node.id, change);
  return { ...node, ...change };
}

/** Adds an event of a node, with the time of now. */
export function recordEvent(store: Store, nodeId: string, type: EventRow["type"]): void {
  store.events.insert({ id: crypto.randomUUID(), nodeId, type, createdAt: isoNow() });
}

/** Returns the root access that an operator wants for a node, as the API sends it. */
export const desiredRootAccess = (node: NodeRow): { profile: string; updatedAt: string | null } => ({
  profile: node.rootProfile,
  updatedAt: node.rootUpdatedAt,
});

/** What the agent applied. Without `appliedProfile` the old one stays; without `lastError` the error is cleared. */
export function reportRootAccess(
  store: Store,
  node: NodeRow,
  report: {
    appliedProfile?: RootProfile | undefined;
    lastAppliedAt?: string | undefined;
    lastError?: string | undefined;
  },
): void {
  store.nodes.update(node.id, {
    ...(report.appliedProfile ? { appliedProfile: report.appliedProfile } : {}),
    ...(report.lastAppliedAt ? { lastAppliedAt: report.lastAppliedAt } : {}),
    lastError: report.lastError ?? null,
  });
}

/** Compares the desired with the applied root-access profile. */
export function rootAccessStatus(node: NodeRow): "failed" | "applied" | "pending" {
  if (node.lastError) return "failed";
  return node.appliedProfile === node.rootProfile ? "applied" : "pending";
}
