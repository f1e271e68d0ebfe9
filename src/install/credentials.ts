// Chooses between two identities of one node, of which one is stale: that of the configuration and that of the identity file.
import type { Identity } from "../identity/identity-file.ts";

/** How the control plane answers a heartbeat with an identity; "unknown" when it could not be asked. */
export type IdentityCheck = "accepted" | "refused" | "unknown";

/**
 * Returns the identity to use; undefined when the checks do not decide it. When both are accepted, it is that of the
 * configuration, which the Go agent used. Pure.
 */
export function chooseIdentity(
  configured: { readonly identity: Identity; readonly check: IdentityCheck },
  stored: { readonly identity: Identity; readonly check: IdentityCheck },
): Identity | undefined {
  if (configured.check === "accepted") return configured.identity;
  if (stored.check === "accepted") return stored.identity;
  // One was refused: the other may still be valid.
  if (configured.check === "refused" && stored.check === "unknown") return stored.identity;
  if (stored.check === "refused" && configured.check === "unknown") return configured.identity;
  return undefined;
}

export const isSameIdentity = (a: Identity, b: Identity): boolean =>
  a.nodeId === b.nodeId && a.agentToken === b.agentToken;
