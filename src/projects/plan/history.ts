// What the planner must remember of one project between two snapshots: restarts, failures, and when to try again.
import { doubled } from "../../lib/backoff.ts";
import { retry } from "../../control/retry.ts";
import { type Step, subjectOf } from "./step.ts";

/** Something that failed; times are those of the steady clock. */
export interface StepFailure {
  readonly message: string;
  /** What was refused. */
  readonly step: Step["do"];
  /** When Docker refused it last. */
  readonly at: number;
  /** In a row. */
  readonly attempts: number;
  /** The container that did not start was removed meanwhile, to be made anew. */
  readonly remade: boolean;
  readonly retryAt: number;
}

export interface ProjectHistory {
  /** By service: when it was started again after it had ended by itself, oldest first. */
  readonly restarts: ReadonlyMap<string, readonly number[]>;
  /** By service: when its container was started last, the first time or again. */
  readonly starts: ReadonlyMap<string, number>;
  /** By service: the replacement that did not start, and its fingerprint. */
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

function troubled(
  before: StepFailure | undefined,
  step: Step["do"],
  message: string,
  now: number,
): StepFailure {
  const same = before?.step === step ? before : undefined;
  const attempts = (same?.attempts ?? 0) + 1;
  const pause = doubled(REMOVALS.has(step) ? retry.removal : retry.step, attempts);
  return { message, step, at: now, attempts, remade: same?.remade ?? false, retryAt: now + pause };
}

/** When a refused step is due again; soon when Docker has told since of something that may have freed it. */
export const dueAgain = ({ at, retryAt }: StepFailure, lastEventAt: number): number =>
  lastEventAt > at ? Math.min(retryAt, at + retry.step.base) : retryAt;

/** What became of a step. */
export type Outcome = { readonly is: "done" } | { readonly is: "refused"; readonly message: string };

/** More restarts than this are within no budget (`restart_limit`). */
const RESTARTS_MAX = 1_000;

/** The history after a step. A step that was cut short, or that Docker was not there for, leaves it as it is. */
export function remember(history: ProjectHistory, step: Step, outcome: Outcome, now: number): ProjectHistory {
  const subject = subjectOf(step);
  const { restarts, starts, replacements, failures } = history;
  if (outcome.is === "refused") {
    const trouble = troubled(failures.get(subject), step.do, outcome.message, now);
    return { ...history, failures: new Map(failures).set(subject, trouble) };
  }
  const left = new Map(failures);
  // Making a container anew because it does not start is not yet a start.
  const trouble = left.get(subject);
  if (trouble?.step === step.do) left.delete(subject);
  else if (trouble?.step === "startContainer" && step.do === "removeContainer")
    left.set(subject, { ...trouble, remade: true });
  const again = step.do === "startContainer" && step.again;
  const failed = step.do === "removeContainer" ? step.failed : undefined;
  return {
    restarts: again
      ? new Map(restarts).set(subject, [...(restarts.get(subject) ?? []), now].slice(-RESTARTS_MAX))
      : restarts,
    starts: step.do === "startContainer" ? new Map(starts).set(subject, now) : starts,
    replacements: failed === undefined ? replacements : new Map(replacements).set(subject, failed),
    failures: left,
  };
}

/** All services run: what was refused on the way there does not count against the next time. */
export const settled = (history: ProjectHistory): ProjectHistory =>
  history.failures.size === 0 ? history : { ...history, failures: new Map() };
