// Plans one project: from the desired and the observed state to the next steps and the report. Pure; planned again after
// every round.
import type { SteadyTime } from "../../lib/clock.ts";
import type { ProjectStatus, Reason } from "../../protocol/caravanserai/resources.ts";
import type { DesiredProject } from "./desired.ts";
import { type ProjectHistory, dueAgain } from "./history.ts";
import type { Images } from "./images.ts";
import type { ObservedContainer, ObservedProject } from "./observed.ts";
import { type ServicePolicy, type ServiceDecision, planService } from "./service.ts";
import type { Step } from "./step.ts";

export interface Plan {
  /** Carried out now, in this order; steps of different services do not depend on each other. */
  readonly steps: readonly Step[];
  /** When to plan again although nothing happened; undefined: not before something happens. */
  readonly planAgainAt: SteadyTime | undefined;
  /** The status that the server should have; undefined while nothing is to be reported. */
  readonly report: ProjectStatus | undefined;
  /** A failure that is tried again: reported beside the phase, which does not change. */
  readonly condition?: Pick<ProjectStatus, "reason" | "message"> | undefined;
  /** For a person: what it waits for; empty when it waits for nothing. */
  readonly notes: readonly string[];
}

export interface Situation {
  readonly observed: ObservedProject;
  readonly history: ProjectHistory;
  readonly images: Images;
  readonly policy: ServicePolicy;
  /** When an event last reported the end of one of its containers. */
  readonly endedAt?: SteadyTime | undefined;
  /** When an event last reported anything about it. */
  readonly lastEventAt?: SteadyTime | undefined;
  readonly now: SteadyTime;
}

/** Plans how to bring a project up and keep it running. Never removes a network, a volume, or anything without our labels. */
export function planProject(desired: DesiredProject, situation: Situation): Plan {
  const { observed, history, now } = situation;
  const foundation = foundationSteps(desired, observed);
  const refused = foundation.length === 0 ? undefined : history.failures.get("");
  // Network and volumes come first. While Docker refuses one, services that do not need it continue.
  if (foundation.length > 0 && (refused === undefined || now >= refused.retryAt))
    return { steps: foundation, planAgainAt: undefined, report: undefined, notes: [] };
  const decisions = desired.services.map((service) => ({
    name: service.name,
    decision: planService({ service, ...situation }),
  }));
  // Services that are no longer in the spec are removed once all others run, so that a rename causes no outage.
  const superfluous = decisions.every(isWell)
    ? observed.containers.filter(({ service }) => !desired.services.some(({ name }) => name === service))
    : [];
  const removal = takeDown(superfluous, situation);
  return {
    steps: [
      ...decisions.flatMap(({ decision }) => ("step" in decision ? (decision.step ?? []) : [])),
      ...removal.steps,
    ],
    planAgainAt: earliest([
      ...decisions.map(({ decision }) => ("until" in decision ? decision.until : undefined)),
      removal.planAgainAt,
      refused?.retryAt,
    ]),
    report: reportOf(decisions),
    condition: conditionOf(decisions),
    notes: decisions.flatMap(({ name, decision }) => {
      if (decision.is === "waiting") return [`${name}: ${decision.note}`];
      return decision.is === "failed" ? [`${name}: ${decision.message}`] : [];
    }),
  };
}

function foundationSteps({ network, volumes }: DesiredProject, observed: ObservedProject): readonly Step[] {
  const missing = volumes.filter((name) => !observed.volumes.has(name));
  return [
    ...(observed.network === undefined ? [{ do: "createNetwork", name: network } as const] : []),
    ...missing.map((name) => ({ do: "createVolume", name }) as const),
  ];
}

interface Decided {
  readonly name: string;
  readonly decision: ServiceDecision;
}

/** The reason of the report is the first of these that occurs: clients know their texts, which list the services. */
const SEVERITY: readonly Reason[] = ["ContainerCrashed", "ContainerExited", "ContainerMissing"];
const REPORT_TEXTS: Partial<Record<Reason, string>> = {
  ContainerCrashed: "Containers crashed",
  ContainerExited: "Containers exited",
};

const isWell = ({ decision }: Decided): boolean => decision.is === "running" || decision.is === "completed";

/** "Containers running: web; completed: migrate" */
function runningMessage(decisions: readonly Decided[]): string {
  const named = (is: ServiceDecision["is"]): string =>
    decisions
      .filter(({ decision }) => decision.is === is)
      .map(({ name }) => name)
      .join(", ");
  const [running, completed] = [named("running"), named("completed")];
  const parts = [running && `running: ${running}`, completed && `completed: ${completed}`].filter(Boolean);
  return `Containers ${parts.join("; ")}`;
}

function reportOf(decisions: readonly Decided[]): ProjectStatus | undefined {
  if (decisions.every(isWell))
    return { phase: "Running", reason: "ContainersRunning", message: runningMessage(decisions) };
  const failed = decisions.flatMap(({ name, decision }) =>
    decision.is === "failed" ? [{ name, reason: decision.reason, message: decision.message }] : [],
  );
  if (failed.length === 0) return undefined;
  const reason = SEVERITY.find((one) => failed.some((failure) => failure.reason === one)) ?? "ReconcileError";
  const text = REPORT_TEXTS[reason];
  const all = failed.map(
    ({ name, message }) => `${name}${text === undefined ? `: ${message}` : `(${message})`}`,
  );
  return { phase: "Failed", reason, message: `${text === undefined ? "" : `${text}: `}${all.join(", ")}` };
}

function conditionOf(decisions: readonly Decided[]): Plan["condition"] {
  const failures = decisions.flatMap(({ name, decision }) =>
    decision.is === "waiting" && decision.isFailure === true ? [`${name}: ${decision.note}`] : [],
  );
  return failures.length === 0 ? undefined : { reason: "ReconcileError", message: failures.join(", ") };
}

/** A refused removal is reported after so many refusals in a row: the first one often passes. */
const REFUSALS_BEFORE_REPORT = 2;

/**
 * Plans the removal of everything of a project: containers, then network, then volumes, whatever is left of it. It is tried
 * until it succeeds and never reported as failed: Failed means that a project should run again.
 */
export function planTeardown(situation: Situation): Plan {
  const { observed, history } = situation;
  const { containers, network, volumes } = observed;
  const rest: readonly Step[] =
    containers.length === 0 && waitOf("", situation) === undefined
      ? [
          ...(network === undefined ? [] : [{ do: "removeNetwork", id: network } as const]),
          ...[...volumes].map((name) => ({ do: "removeVolume", name }) as const),
        ]
      : [];
  const isRemoved = containers.length === 0 && network === undefined && volumes.size === 0;
  const subjects = isRemoved ? [] : [...containers.map(({ service }) => service), ""];
  const failures = subjects.flatMap((subject) => history.failures.get(subject) ?? []);
  const stuck = failures.find(({ attempts }) => attempts >= REFUSALS_BEFORE_REPORT);
  return {
    steps: [...takeDown(containers, situation).steps, ...rest],
    planAgainAt: earliest(subjects.map((subject) => waitOf(subject, situation))),
    report: isRemoved
      ? {
          phase: "Terminated",
          reason: "ResourcesRemoved",
          message: "Containers, network and volumes removed",
        }
      : undefined,
    condition: stuck && { reason: "RemoveError", message: stuck.message },
    notes: failures.map(({ message }) => message),
  };
}

/** When a refused step about `subject` is tried again; undefined when that is now, or none was refused. */
function waitOf(
  subject: string,
  { history, lastEventAt = -Infinity, now }: Situation,
): SteadyTime | undefined {
  const failure = history.failures.get(subject);
  if (failure === undefined) return undefined;
  const due = dueAgain(failure, lastEventAt);
  return now < due ? due : undefined;
}

/** Steps for containers that are due: stops a running one with grace, removes one by force that is stopped or does not stop. */
function takeDown(
  containers: readonly ObservedContainer[],
  situation: Situation,
): { readonly steps: readonly Step[]; readonly planAgainAt: SteadyTime | undefined } {
  const steps = containers
    .filter(({ service }) => waitOf(service, situation) === undefined)
    .map(({ id, service, state }): Step => {
      const refused = situation.history.failures.get(service)?.step;
      const isRunning = state === "running" || state === "paused" || state === "restarting";
      const wasRefused = refused === "stopContainer" || refused === "removeContainer";
      return { do: isRunning && !wasRefused ? "stopContainer" : "removeContainer", id, service };
    });
  return { steps, planAgainAt: earliest(containers.map(({ service }) => waitOf(service, situation))) };
}

function earliest(times: readonly (SteadyTime | undefined)[]): SteadyTime | undefined {
  const known = times.filter((time) => time !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}
