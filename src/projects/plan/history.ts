// Keeps what the planner must remember of one project between two snapshots: restarts, failures, and when to try again. Pure.
import type { SteadyTime } from "../../lib/clock.ts";
import { doubled } from "../../lib/backoff.ts";
import { retry } from "../../control/retry.ts";
import { type Step, subjectOf } from "./step.ts";

/** A step that Docker refused. */
export interface StepFailure {
  readonly message: string;
  readonly step: Step["do"];
  /** When Docker refused it last. */
  readonly at: SteadyTime;
  /** Refusals in a row. */
  readonly attempts: number;
  /** The container that did not start was removed since, to be created again. */
  readonly isRecreated: boolean;
  readonly retryAt: SteadyTime;
}

export interface ProjectHistory {
  /** By service: when it was started again after it had ended by itself, oldest first. */
  readonly restarts: ReadonlyMap<string, readonly SteadyTime[]>;
  /** By service: when its container was started last, the first time or again. */
  readonly starts: ReadonlyMap<string, SteadyTime>;
  /** By service: the fingerprint of the replacement that did not start, and why. */
  readonly replacements: ReadonlyMap<string, { readonly fingerprint: string; readonly message: string }>;
  /** By service, "" for the project as a whole: the last step Docker refused. */
  readonly failures: ReadonlyMap<string, StepFailure>;
}

export const NO_HISTORY: ProjectHistory = {
  restarts: new Map(),
  starts: new Map(),
  replacements: new Map(),
  failures: new Map(),
};

const REMOVALS: ReadonlySet<Step["do"]> = new Set<Step["do"]>([
  "stopContainer",
  "removeContainer",
  "removeNetwork",
  "removeVolume",
]);

function nextFailure(
  before: StepFailure | undefined,
  step: Step["do"],
  message: string,
  now: SteadyTime,
): StepFailure {
  const same = before?.step === step ? before : undefined;
  const attempts = (same?.attempts ?? 0) + 1;
  const pause = doubled(REMOVALS.has(step) ? retry.removal : retry.step, attempts);
  return { message, step, at: now, attempts, isRecreated: same?.isRecreated ?? false, retryAt: now + pause };
}

/** When a refused step is tried again; after the shortest pause when an event since may have removed the cause. */
export const dueAgain = ({ at, retryAt }: StepFailure, lastEventAt: SteadyTime): SteadyTime =>
  lastEventAt > at ? Math.min(retryAt, at + retry.step.base) : retryAt;

/** The result of a step. */
export type Outcome = { readonly is: "done" } | { readonly is: "refused"; readonly message: string };

/** Above the largest `restart_limit`. */
const RESTARTS_MAX = 1_000;

/** The history after a step. Not called for a step that was aborted, or during which Docker became unreachable. */
export function remember(
  history: ProjectHistory,
  step: Step,
  outcome: Outcome,
  now: SteadyTime,
): ProjectHistory {
  const subject = subjectOf(step);
  const { restarts, starts, replacements, failures } = history;
  if (outcome.is === "refused") {
    const failure = nextFailure(failures.get(subject), step.do, outcome.message, now);
    return { ...history, failures: new Map(failures).set(subject, failure) };
  }
  const left = new Map(failures);
  // Removing a container that does not start does not end the failure: it is created again.
  const failure = left.get(subject);
  if (failure?.step === step.do) left.delete(subject);
  else if (failure?.step === "startContainer" && step.do === "removeContainer")
    left.set(subject, { ...failure, isRecreated: true });
  const again = step.do === "startContainer" && step.again;
  const replacement = step.do === "removeContainer" ? step.failed : undefined;
  return {
    restarts: again
      ? new Map(restarts).set(subject, [...(restarts.get(subject) ?? []), now].slice(-RESTARTS_MAX))
      : restarts,
    starts: step.do === "startContainer" ? new Map(starts).set(subject, now) : starts,
    replacements: replacement === undefined ? replacements : new Map(replacements).set(subject, replacement),
    failures: left,
  };
}

/** The history when all services run: earlier refusals do not count any more. */
export const settled = (history: ProjectHistory): ProjectHistory =>
  history.failures.size === 0 ? history : { ...history, failures: new Map() };
