// Decides whether root may execute or obey what a path leads to, from the owners on the way there. Pure.
import { dirname } from "node:path";
import { quoteIfNeeded } from "../../lib/text.ts";

/**
 * One file, directory or symbolic link on the way to a path, in the order in which the kernel passes them.
 */
export interface PathStep {
  readonly path: string;
  /** "missing": nothing is there; always the last step. */
  readonly kind: "directory" | "link" | "file" | "missing";
  readonly uid: number;
  /** Permission bits, the sticky bit (0o1000) included. */
  readonly mode: number;
}

export interface TrustRefusal {
  readonly do: "refuse";
  readonly step: PathStep;
  readonly problem: "owner" | "writable";
  /** The command that repairs it. */
  readonly mend: string;
}

export type TrustDecision =
  | {
      readonly do: "trust";
      /** Directories above that belong to root and are writable by others, each once. */
      readonly shared: readonly string[];
    }
  /**
   * `steps` belong to the agent: make root their owner in this order, so that each lies in a safe directory.
   */
  | { readonly do: "take-over"; readonly steps: readonly PathStep[] }
  | TrustRefusal;

const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;

export interface TrustRules {
  /**
   * Whether a step belongs to the agent and is taken over; all others are refused. `isLast`: it is the path
   * itself. Not asked about another user's entry of a shared directory, which anyone could have made there.
   */
  readonly isOwn: (step: PathStep, isLast: boolean) => boolean;
  /**
   * Whether a directory of root above the path may be writable by others. They can exchange the entries of
   * root in it, but not make entries that belong to root: only for paths whose owner is checked at each use.
   * Sticky directories (/tmp) are always allowed, since only root can rename or remove the entries of root in
   * them.
   */
  readonly passShared: boolean;
}

/** Trusts a path when every step belongs to root and can be written by nobody else. */
export function decideTrust(steps: readonly PathStep[], { isOwn, passShared }: TrustRules): TrustDecision {
  const isLast = (step: PathStep): boolean => step === steps.at(-1);
  const isShared = (step: PathStep): boolean => isSharedDirectory(step) && !isLast(step);
  const shared = new Set(steps.filter(isShared).map(({ path }) => path));
  const unsafe = steps.filter(
    (step) => isUnsafe(step) && !(isShared(step) && (passShared || (step.mode & STICKY) !== 0)),
  );
  const isPlanted = ({ path, uid }: PathStep): boolean => uid !== 0 && shared.has(dirname(path));
  const foreign = unsafe.find((step) => isPlanted(step) || !isOwn(step, isLast(step)));
  if (foreign !== undefined) return refusal(foreign);
  if (unsafe.length > 0) return { do: "take-over", steps: unsafe };
  return { do: "trust", shared: [...shared] };
}

/** The permissions of a link mean nothing: those of its directory decide who may replace it. */
const isWritable = ({ kind, mode }: PathStep): boolean =>
  (kind === "directory" || kind === "file") && (mode & WRITABLE_BY_OTHERS) !== 0;

const isUnsafe = (step: PathStep): boolean => step.kind !== "missing" && (step.uid !== 0 || isWritable(step));

const isSharedDirectory = (step: PathStep): boolean =>
  step.kind === "directory" && step.uid === 0 && isWritable(step);

function refusal(step: PathStep): TrustRefusal {
  const { kind, path, uid } = step;
  const commands = [
    uid === 0 ? "" : `chown ${kind === "link" ? "-h " : ""}root: ${quoteIfNeeded(path)}`,
    isWritable(step) ? `chmod go-w ${quoteIfNeeded(path)}` : "",
  ];
  const mend = commands.filter(Boolean).join(" && ");
  return { do: "refuse", step, problem: uid === 0 ? "writable" : "owner", mend };
}
