// Decides what becomes of projects that are here and not on the server's list. Each is asked for by name. Its containers
// and network are removed only when the server has said twice, at least a poll apart, that it is not ours, and says so
// once more at the end of the grace. Silence changes nothing, and neither does a server that has lost its memory.
// Volumes are never removed here: data goes with Terminating alone.
import { type Duration, minutes } from "../../lib/duration.ts";

/** What the server said of one project that it does not list as ours to work on. */
export type Answer =
  /** It knows no such project, and its memory reaches back to when it listed the project as ours. */
  | { readonly is: "gone" }
  /** It knows no such project, but it has lost its memory since it listed it as ours: no proof of a deletion. */
  | { readonly is: "forgotten" }
  /** Nothing is left here but volumes, and a network that others use: whatever the server says, they stay. */
  | { readonly is: "rest" }
  /** The server has given it to no node: nobody else runs it, and it may come back to us. */
  | { readonly is: "unplaced" }
  /** It knows no such project, and never gave us one of that name: that of another agent on this Docker. */
  | { readonly is: "foreign" }
  /** Another node's. */
  | { readonly is: "elsewhere"; readonly node: string }
  | { readonly is: "ours"; readonly phase: string }
  | { readonly is: "silent" };

/** What is known of one; times are those of the steady clock. */
export interface OrphanCandidate {
  readonly verdict:
    | "unknown"
    /** The server said so once. */
    | "suspected"
    /** Twice: an orphan, removed when the grace is over. */
    | "orphan"
    /** The grace is over, and the server said it again: to be removed now. */
    | "remove"
    /** Failed on the server, and ours: a person will look at it. Or not known to be ours. */
    | "kept"
    /** Terminated on the server, and ours. */
    | "terminated";
  readonly reason: string;
  /** The first of the answers in a row that say it is not ours. */
  readonly since: number;
  readonly due: number | undefined;
  readonly askAt: number;
}

export const UNKNOWN: OrphanCandidate = {
  verdict: "unknown",
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

/** What stays as it is needs no question at every poll; but who deletes a failed project wants to see it go. */
const KEPT_POLLS = 5;
/** All that belongs to another agent may be much, and our server will hardly ever know it. */
const FOREIGN_POLL: Duration = minutes(1);

/** The next state of a suspect. `remove` only ever follows on a positive answer given now. */
export function decideOrphan(
  before: OrphanCandidate,
  answer: Answer,
  now: number,
  { poll, grace }: OrphanPolicy,
): OrphanCandidate {
  const askAt = now + poll;
  switch (answer.is) {
    case "silent":
      // What was about to be removed needs a new word first.
      return { ...before, verdict: before.verdict === "remove" ? "orphan" : before.verdict, askAt };
    case "ours":
      if (answer.phase === "Terminated")
        return { ...UNKNOWN, verdict: "terminated", reason: "terminated on the server", askAt };
      return kept(`${answer.phase} on the server`, now + KEPT_POLLS * poll);
    case "foreign":
      return kept("never assigned to this node", now + FOREIGN_POLL);
    case "rest":
      return kept("nothing is left that the agent removes", now + FOREIGN_POLL);
    case "unplaced":
      return kept("waits on the server for a node", askAt);
    case "forgotten":
      return kept(
        "unknown to the server, which has lost its memory; apply it again, and delete it if it is to go",
        now + KEPT_POLLS * poll,
      );
    case "gone":
    case "elsewhere":
  }
  const reason = answer.is === "gone" ? "deleted on the server" : `given to node ${answer.node}`;
  if (!isPositive(before)) return { verdict: "suspected", reason, since: now, due: undefined, askAt };
  // Asked again too soon, the same answer is the same answer.
  if (now - before.since < poll) return { ...before, reason, askAt: before.since + poll };
  const due = before.due ?? now + grace;
  return { verdict: now >= due ? "remove" : "orphan", reason, since: before.since, due, askAt };
}

const kept = (reason: string, askAt: number): OrphanCandidate => ({
  ...UNKNOWN,
  verdict: "kept",
  reason,
  askAt,
});

const isPositive = ({ verdict }: OrphanCandidate): boolean =>
  verdict === "suspected" || verdict === "orphan" || verdict === "remove";

/** Fewer than this many may be a person who cleans up. */
const LOSS_MIN = 3;

/**
 * Whether so many projects missing at the same time, of all this node holds, are a server that has lost its data rather
 * than so many deletions: a backup that was restored still knows the node.
 */
export const isLoss = (missing: number, held: number): boolean => missing >= LOSS_MIN && 2 * missing > held;
