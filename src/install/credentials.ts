// Chooses between two identities of one node: the configuration may hold one, the identity file another, and one is stale.
import type { Identity } from "../identity/identity-file.ts";

/** What the control plane says to a heartbeat with an identity; "unknown" when it could not be asked. */
export type Word = "accepted" | "refused" | "unknown";

/**
 * Undefined when nothing has to be decided, or nothing is known that could decide it. Where both are accepted, that of the
 * configuration, which the Go agent used. Pure.
 */
export function chooseIdentity(
  configured: { readonly identity: Identity; readonly word: Word },
  stored: { readonly identity: Identity; readonly word: Word },
): Identity | undefined {
  if (configured.word === "accepted") return configured.identity;
  if (stored.word === "accepted") return stored.identity;
  // The one that was refused is not right; the other may be.
  if (configured.word === "refused" && stored.word === "unknown") return stored.identity;
  if (stored.word === "refused" && configured.word === "unknown") return configured.identity;
  return undefined;
}

export const isSameIdentity = (a: Identity, b: Identity): boolean =>
  a.nodeId === b.nodeId && a.agentToken === b.agentToken;
