// Checks paths before root executes or obeys them. Does nothing for other users.
import { AgentError, exit } from "../../lib/agent-error.ts";
import { isRoot, userName } from "../account.ts";
import { readChain } from "./chain.ts";
import {
  type PathStep,
  type TrustDecision,
  type TrustRefusal,
  type TrustRules,
  decideTrust,
} from "./decide.ts";
import { takeOverPath } from "./take-over.ts";

/** Where the agent is installed: what is here belongs to the agent, even if a service user owns it. */
const PLACES = ["/opt/noderax-agent", "/etc/noderax-agent", "/var/lib/noderax-agent"];

/** Returns whether a path is one of the agent's own places, or below one. */
export const isAgentsPlace = ({ path }: PathStep): boolean =>
  PLACES.some((place) => path === place || path.startsWith(`${place}/`));

export interface Distrust {
  /** "/srv/app belongs to web" */
  readonly problem: string;
  /** The command that repairs it. */
  readonly mend: string;
}

/** Default: the places of the agent are taken over, and no directory above may be writable by others. */
export type Rules = Partial<TrustRules>;

/** Returns why root must not use `path`; undefined when it may, and for what `secure` would take over. */
export function distrustOf(path: string, rules: Rules = {}): Distrust | undefined {
  if (!isRoot()) return undefined;
  const decision = look(path, rules);
  return decision.do === "refuse" ? distrust(decision) : undefined;
}

/**
 * Throws "trust.refused" (exit 5) for a path that root must not use. `what` begins the message: "the
 * executable".
 */
export function requireTrusted(path: string, what: string, rules: Rules = {}): void {
  const found = distrustOf(path, rules);
  if (found !== undefined) throw refused(found, path, what);
}

/**
 * Makes `path` safe for root: takes over what belongs to the agent, and returns a warning for each. Throws
 * "trust.refused" (exit 5) for anything else that does not belong to root.
 */
export function secure(path: string, what: string, rules: Rules = {}): string[] {
  if (!isRoot()) return [];
  const warnings: string[] = [];
  // Check again after each round: entries of a directory may have been replaced before root owned it.
  for (let round = 0; round < ROUNDS; round++) {
    const decision = look(path, rules);
    if (decision.do === "trust") return warnings;
    if (decision.do === "refuse") throw refused(distrust(decision), path, what);
    for (const step of decision.steps) {
      takeOverPath(step);
      warnings.push(takenOver(step));
    }
  }
  throw new AgentError("trust.unclear", `${what}: ${path} is changed by somebody while it is checked`, {
    exit: exit.refused,
  });
}

const ROUNDS = 3;

const look = (path: string, rules: Rules): TrustDecision =>
  decideTrust(readChain(path), { isOwn: isAgentsPlace, passShared: false, ...rules });

/** The directories above `path` that belong to root and may be written by others, such as /tmp. */
export function sharedAbove(path: string): readonly string[] {
  const decision = look(path, { isOwn: () => false, passShared: true });
  return decision.do === "trust" ? decision.shared : [];
}

const takenOver = ({ path, uid }: PathStep): string =>
  uid === 0
    ? `${path} could be written by others than root; it no longer can`
    : `${path} belonged to ${userName(uid)}, who could change it until now; it is root's now`;

function distrust({ step, problem, mend }: TrustRefusal): Distrust {
  const whose =
    problem === "owner" ? `belongs to ${userName(step.uid)}` : "can be written by others than root";
  return { problem: `${step.path} ${whose}`, mend };
}

const refused = ({ problem, mend }: Distrust, path: string, what: string): AgentError =>
  new AgentError(
    "trust.refused",
    `${what}: ${path} must not be used by root: ${problem}; mend it with: ${mend}`,
    {
      hint: "A user who can change it could become root through it.",
      exit: exit.refused,
    },
  );
