// Decides what to do with projects that exist here and are not on the server's list. The server is asked for each by name.
// Containers and network are removed only after the server answered twice, at least a poll apart, that the project is not
// ours, and once more at the end of the grace period. No answer changes nothing, and neither does a server that has lost
// its data. Volumes are never removed here: only the phase Terminating removes data. Pure.
import type { SteadyTime } from "../../lib/clock.ts";
import { type Duration, minutes } from "../../lib/duration.ts";

/** The server's answer about one project that is not on its list for this node. */
export type Answer =
  /** Not found, by a server that still has the data with which it listed the project as ours. */
  | { readonly is: "gone" }
  /** Not found, by a server that lost its data since it listed the project as ours: no proof of a deletion. */
  | { readonly is: "forgotten" }
  /** Only volumes, and a network that others use, are left here: they are not removed, whatever the server answers. */
  | { readonly is: "rest" }
  /** Assigned to no node: nobody else runs it, and it may come back to this node. */
  | { readonly is: "unplaced" }
  /** Not found, and never assigned to this node: it belongs to another agent on this Docker. */
  | { readonly is: "foreign" }
  /** Assigned to another node. */
  | { readonly is: "elsewhere"; readonly node: string }
  | { readonly is: "ours"; readonly phase: string }
  /** No answer. */
  | { readonly is: "silent" };

/** A project that may be an orphan. */
export interface OrphanCandidate {
  readonly decision:
    | "unknown"
    /** The server answered once that it is not ours. */
    | "suspected"
    /** Twice: an orphan, removed after the grace period. */
    | "orphan"
    /** The grace period is over and the server answered the same again: remove it now. */
    | "remove"
    /** Not removed: ours on the server, or not known to be ours. */
    | "kept"
    /** Ours and Terminated on the server. */
    | "terminated";
  readonly reason: string;
  /** The time of the first answer, in a row, that it is not ours. */
  readonly since: SteadyTime;
  /** The end of the grace period; undefined before it begins. */
  readonly due: SteadyTime | undefined;
  /** The server is asked again at this time. */
  readonly askAt: SteadyTime;
}

export const UNKNOWN: OrphanCandidate = {
  decision: "unknown",
  reason: "",
  since: 0,
  due: undefined,
  askAt: 0,
};

export interface OrphanPolicy {
  /** Between two questions about the same project. */
  readonly poll: Duration;
  readonly grace: Duration;
}

/** Polls between two questions about a project that is not removed. A person who deletes a failed project waits for it. */
const RETAINED_POLLS = 5;
/** Another agent may have many projects, and our server will hardly ever know them. */
const FOREIGN_POLL: Duration = minutes(1);

/** The next state of a candidate. "remove" follows only on an answer given now. */
export function decideOrphan(
  before: OrphanCandidate,
  answer: Answer,
  now: SteadyTime,
  { poll, grace }: OrphanPolicy,
): OrphanCandidate {
  const askAt = now + poll;
  switch (answer.is) {
    case "silent":
      // A removal needs another answer first.
      return { ...before, decision: before.decision === "remove" ? "orphan" : before.decision, askAt };
    case "ours":
      if (answer.phase === "Terminated")
        return { ...UNKNOWN, decision: "terminated", reason: "terminated on the server", askAt };
      return retained(`${answer.phase} on the server`, now + RETAINED_POLLS * poll);
    case "foreign":
      return retained("never assigned to this node", now + FOREIGN_POLL);
    case "rest":
      return retained("nothing is left that the agent removes", now + FOREIGN_POLL);
    case "unplaced":
      return retained("waits on the server for a node", askAt);
    case "forgotten":
      return retained(
        "unknown to the server, which has lost its data; apply the project again, and then delete it if it is to be removed",
        now + RETAINED_POLLS * poll,
      );
    case "gone":
    case "elsewhere":
  }
  const reason = answer.is === "gone" ? "deleted on the server" : `assigned to node ${answer.node}`;
  if (!isPositive(before)) return { decision: "suspected", reason, since: now, due: undefined, askAt };
  // A second answer within one poll does not count.
  if (now - before.since < poll) return { ...before, reason, askAt: before.since + poll };
  const due = before.due ?? now + grace;
  return { decision: now >= due ? "remove" : "orphan", reason, since: before.since, due, askAt };
}

const retained = (reason: string, askAt: SteadyTime): OrphanCandidate => ({
  ...UNKNOWN,
  decision: "kept",
  reason,
  askAt,
});

const isPositive = ({ decision }: OrphanCandidate): boolean =>
  decision === "suspected" || decision === "orphan" || decision === "remove";

/** Fewer missing projects may be a person who deletes them. */
const LOSS_MIN = 3;

/**
 * Whether the server has lost data: more than half of the `total` projects of this node are missing at the same time. A
 * server that was restored from a backup still knows the node, so only this shows it.
 */
export const isDataLoss = (missing: number, total: number): boolean =>
  missing >= LOSS_MIN && 2 * missing > total;
