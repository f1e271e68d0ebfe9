// Whether the control plane accepts us. A 401 of the task routes proves nothing (its database may be down), so the
// heartbeat is asked; the realtime session's refusal says what it means. Nothing here ever stops the agent or deletes
// the identity.
//
//   ok ──401──▶ suspect ──heartbeat──▶ ok | refused (401) | deleted (404) | suspect (no clear answer)
//    ▲   └──────────── session ─────────────▶ refused | deleted
//    └────────────── any accepted call ◀─────────────┘
import { type SteadyTime, steadyNow } from "../lib/clock.ts";
import { messageOf, httpStatusOf } from "../lib/agent-error.ts";
import type { Log } from "../platform/log.ts";

export type AuthStanding = "unknown" | "ok" | "suspect" | "refused" | "deleted";

export const isRejected = (standing: AuthStanding): boolean =>
  standing === "refused" || standing === "deleted";

export interface AuthState {
  standing(): AuthStanding;
  since(): SteadyTime;
  /**
   * A call was accepted. Neither heartbeat nor session clears a suspicion: it is the task routes that are doubted then.
   */
  accepted(call: "task" | "heartbeat" | "session"): void;
  /** The session was refused in words that name a lasting reason. */
  refused(standing: "refused" | "deleted", why: string): void;
  /** A call was answered with 401: finds out what it means. Resolves with the new standing; never rejects. */
  doubted(signal: AbortSignal): Promise<AuthStanding>;
}

/** `probe` sends a heartbeat; `recovered` is called when we are accepted again. */
export function createAuthState(
  probe: (signal: AbortSignal) => Promise<unknown>,
  log: Log,
  recovered: () => void = () => {},
): AuthState {
  let standing: AuthStanding = "unknown";
  let since = steadyNow();

  function become(next: AuthStanding, why?: string): AuthStanding {
    if (next !== standing) {
      if (next === "refused" || next === "deleted")
        log.error("identity", `${next}: ${why ?? ""}; trying again now and then`);
      const again = next === "ok" && standing !== "unknown";
      if (again) log.info("identity", "accepted again");
      standing = next;
      since = steadyNow();
      if (again) recovered();
    }
    return standing;
  }

  return {
    standing: () => standing,
    since: () => since,
    accepted(call) {
      if (call === "task" || standing !== "suspect") become("ok");
    },
    refused(next, why) {
      become(next, why);
    },
    async doubted(signal) {
      try {
        await probe(signal);
        // The heartbeat accepts what the task routes refuse: their side is ill, not our token.
        return become("suspect");
      } catch (error) {
        const status = httpStatusOf(error);
        if (status === 404) return become("deleted", "the control plane has no such node any more");
        if (status === 401) return become("refused", messageOf(error));
        return become("suspect");
      }
    },
  };
}
