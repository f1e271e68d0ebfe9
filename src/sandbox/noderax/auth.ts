// Authentication: the two header credentials of the task routes, and the body credentials of heartbeat and metrics.
//
// Every failure of the header check reads the same, also when the database is down: a 401 proves nothing.
import { sameSecret } from "../http/answer.ts";
import { notFound, unauthorized } from "../http/api-error.ts";
import type { NodeRow } from "../entities.ts";
import type { Store } from "../store.ts";

export function authenticateHeaders(headers: Headers, store: Store, databaseDown: boolean): NodeRow {
  const nodeId = headers.get("x-agent-node-id")?.trim();
  const token = /^Bearer\s+(\S+)\s*$/i.exec(headers.get("authorization") ?? "")?.[1];
  if (!nodeId || token === undefined) {
    throw unauthorized("x-agent-node-id and Authorization: Bearer <agent-token> are required");
  }
  const node = databaseDown ? undefined : store.nodes.get(nodeId);
  if (!node?.agentToken || !sameSecret(token, node.agentToken)) {
    throw unauthorized("Invalid agent credentials");
  }
  return node;
}

export function authenticateBody(
  { nodeId, agentToken }: { nodeId: string; agentToken: string },
  store: Store,
): NodeRow {
  const node = store.nodes.get(nodeId);
  if (!node) throw notFound(`Node ${nodeId} was not found`);
  if (!node.agentToken) throw unauthorized("Agent token is not configured for this node");
  if (!sameSecret(agentToken, node.agentToken)) throw unauthorized("Invalid agent token");
  return node;
}
