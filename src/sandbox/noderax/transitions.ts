// The task state machine, decided without touching anything.
//
//   queued ──claim──▶ accepted ──started──▶ running ──completed──▶ success | failed | cancelled
//     ▲                  │
//     └── lease expired ─┘
//
// A call is applied, is a no-op that answers 200, or is refused with 409.
import { isFinal } from "../../protocol/noderax/tasks.ts";
import type { TaskRow } from "../entities.ts";

export type TransitionDecision =
  | { readonly kind: "apply" }
  | { readonly kind: "noop" }
  | { readonly kind: "conflict"; readonly message: string };

const apply: TransitionDecision = { kind: "apply" };
const noop: TransitionDecision = { kind: "noop" };
const conflict = (message: string): TransitionDecision => ({ kind: "conflict", message });

/** A claim has accepted the task already, so this never changes anything; it does not extend the lease either. */
export function decideAccepted(task: TaskRow): TransitionDecision {
  return task.status === "queued"
    ? conflict(`Task ${task.id} is in queued state and cannot be accepted`)
    : noop;
}

export function decideStarted(task: TaskRow, nodeId: string, now: string): TransitionDecision {
  if (task.status === "queued") return conflict(`Task ${task.id} must be accepted before it can be started`);
  if (task.status === "running") return noop;
  if (isFinal(task.status))
    return conflict(`Task ${task.id} is already ${task.status} and cannot be started`);
  if (task.claimedBy !== null && task.claimedBy !== nodeId) {
    return conflict(`Task ${task.id} is claimed by a different node and cannot transition to started`);
  }
  if (task.leaseUntil !== null && task.leaseUntil <= now) {
    return conflict(`Task ${task.id} lease expired before started transition`);
  }
  return apply;
}

export function decideLogs(task: TaskRow): TransitionDecision {
  return task.status === "running"
    ? apply
    : conflict(`Task ${task.id} is in ${task.status} state and cannot accept logs`);
}

export type ReportedOutcome = "success" | "failed" | "cancelled";

/** Returns the stored status for the outcome that an agent sends. */
export function reportedOutcome(
  sent: "success" | "failed" | "cancelled" | "canceled" | "timeout",
): ReportedOutcome {
  if (sent === "timeout") return "failed";
  return sent === "canceled" ? "cancelled" : sent;
}

/** The first outcome wins: the same one again is a no-op, another one is refused. */
export function decideCompleted(
  task: TaskRow,
  sent: Parameters<typeof reportedOutcome>[0],
): TransitionDecision {
  if (task.status === "running") return apply;
  if (!isFinal(task.status))
    return conflict(`Task ${task.id} is in ${task.status} state and cannot be completed`);
  return task.status === reportedOutcome(sent)
    ? noop
    : conflict(`Task ${task.id} is already ${task.status} and cannot transition to ${sent}`);
}
