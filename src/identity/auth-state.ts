// Keeps whether the control plane accepts our identity. A 401 of the task routes proves nothing (its database
// may be down), so a heartbeat is sent to find out; a refusal of the realtime session names its reason.
// Nothing here stops the agent or deletes the identity.
//
//   ok ──401──▶ suspect ──heartbeat──▶ ok | refused (401) | deleted (404) | suspect (no clear answer)
//    ▲   └──────────── session ─────────────▶ refused | deleted
//    └────────────── any accepted call ◀─────────────┘
import { type SteadyTime, steadyNow } from "../lib/clock.ts";
import { messageOf, httpStatusOf } from "../lib/agent-error.ts";
import type { Log } from "../platform/log.ts";

export type AuthStatus = "unknown" | "ok" | "suspect" | "refused" | "deleted";

export const isRejected = (status: AuthStatus): boolean => status === "refused" || status === "deleted";

export interface AuthState {
  status(): AuthStatus;
  since(): SteadyTime;
  /** Records an accepted call. Heartbeat and session do not end "suspect", which is about the task routes. */
  accepted(call: "task" | "heartbeat" | "session"): void;
  /** Records a refusal of the session for a lasting reason. */
  refused(status: "refused" | "deleted", why: string): void;
  /**
   * Sends a heartbeat after a 401, to find out what it means. Resolves with the new status; never rejects.
   */
  doubted(signal: AbortSignal): Promise<AuthStatus>;
}

/** `probe` sends a heartbeat. Calls `recovered` when the identity is accepted again. */
export function createAuthState(
  probe: (signal: AbortSignal) => Promise<unknown>,
  log: Log,
  recovered: () => void = () => {},
): AuthState {
  let status: AuthStatus = "unknown";
  let since = steadyNow();

  function become(next: AuthStatus, why?: string): AuthStatus {
    if (next !== status) {
      if (next === "refused" || next === "deleted")
        log.error("identity", `${next}: ${why ?? ""}; trying again now and then`);
      const again = next === "ok" && status !== "unknown";
      if (again) log.info("identity", "accepted again");
      status = next;
      since = steadyNow();
      if (again) recovered();
    }
    return status;
  }

  return {
    status: () => status,
    since: () => since,
    accepted(call) {
      if (call === "task" || status !== "suspect") become("ok");
    },
    refused(next, why) {
      become(next, why);
    },
    async doubted(signal) {
      try {
        await probe(signal);
        // The heartbeat accepts the token that the task routes refuse: the fault is theirs.
        return become("suspect");
      } catch (error) {
        const answered = httpStatusOf(error);
        if (answered === 404) return become("deleted", "the control plane has no such node any more");
        if (answered === 401) return become("refused", messageOf(error));
        return become("suspect");
      }
    },
  };
}
