// One project: from what is wanted and what was seen to the next steps and the report. Pure; made anew after every round.
import type { ProjectStatus, Reason } from "../../protocol/caravanserai/resources.ts";
import type { DesiredProject } from "./desired.ts";
import { type ProjectHistory, dueAgain } from "./history.ts";
import type { Images } from "./images.ts";
import type { ObservedContainer, ObservedProject } from "./observed.ts";
import { type ServicePolicy, type ServiceDecision, planService } from "./service.ts";
import type { Step } from "./step.ts";

export interface Plan {
  /** To be carried out now, in this order; those of different services do not depend on each other. */
  readonly steps: readonly Step[];
  /** When to look again although nothing happened, of the steady clock. */
  readonly planAgainAt: number | undefined;
  /** What the server should be told, if it has not been told. */
  readonly report: ProjectStatus | undefined;
  /** What went wrong and is tried again: to be shown beside the phase, which stays as it is. */
  readonly condition?: Pick<ProjectStatus, "reason" | "message"> | undefined;
  /** What it waits for, in words for a person; empty when all is well. */
  readonly notes: readonly string[];
}

export interface Situation {
  readonly observed: ObservedProject;
  readonly history: ProjectHistory;
  readonly images: Images;
  readonly policy: ServicePolicy;
  /** When Docker told last that a container of it has ended. */
  readonly endedAt?: number | undefined;
  /** When Docker told last of anything about it. */
  readonly lastEventAt?: number | undefined;
  /** Of the steady clock, as every time in a plan. */
  readonly now: number;
}

/** Brings a project up and keeps it there. Never removes a network or a volume, nor anything without our labels. */
export function planProject(desired: DesiredProject, situation: Situation): Plan {
  const { observed, history, now } = situation;
  const foundation = foundationSteps(desired, observed);
  const refused = foundation.length === 0 ? undefined : history.failures.get("");
  // The network and the volumes come first. While Docker refuses one, what can do without it goes on.
  if (foundation.length > 0 && (refused === undefined || now >= refused.retryAt))
    return { steps: foundation, planAgainAt: undefined, report: undefined, notes: [] };
  const verdicts = desired.services.map((service) => ({
    name: service.name,
    verdict: planService({ service, ...situation }),
  }));
  // Services that are not in the spec any more go once all others run, so that a rename is not an outage.
  const superfluous = verdicts.every(isWell)
    ? observed.containers.filter(({ service }) => !desired.services.some(({ name }) => name === service))
    : [];
  const removal = takeDown(superfluous, situation);
  return {
    steps: [
      ...verdicts.flatMap(({ verdict }) => ("step" in verdict ? (verdict.step ?? []) : [])),
      ...removal.steps,
    ],
    planAgainAt: earliest([
      ...verdicts.map(({ verdict }) => ("until" in verdict ? verdict.until : undefined)),
      removal.planAgainAt,
      refused?.retryAt,
    ]),
    report: reportOf(verdicts),
    condition: conditionOf(verdicts),
    notes: verdicts.flatMap(({ name, verdict }) => {
      if (verdict.is === "waiting") return [`${name}: ${verdict.note}`];
      return verdict.is === "failed" ? [`${name}: ${verdict.message}`] : [];
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

interface Named {
  readonly name: string;
  readonly verdict: ServiceDecision;
}

/** Crashes are named before what was never up, since they name the services in the words that clients know. */
const SEVERITY: readonly Reason[] = ["ContainerCrashed", "ContainerExited", "ContainerMissing"];
const WORDS: Partial<Record<Reason, string>> = {
  ContainerCrashed: "Containers crashed",
  ContainerExited: "Containers exited",
};

const isWell = ({ verdict }: Named): boolean => verdict.is === "running" || verdict.is === "completed";

/** "Containers running: web; completed: migrate" */
function wellMessage(verdicts: readonly Named[]): string {
  const named = (is: ServiceDecision["is"]): string =>
    verdicts
      .filter(({ verdict }) => verdict.is === is)
      .map(({ name }) => name)
      .join(", ");
  const [running, completed] = [named("running"), named("completed")];
  const parts = [running && `running: ${running}`, completed && `completed: ${completed}`].filter(Boolean);
  return `Containers ${parts.join("; ")}`;
}

function reportOf(verdicts: readonly Named[]): ProjectStatus | undefined {
  if (verdicts.every(isWell))
    return { phase: "Running", reason: "ContainersRunning", message: wellMessage(verdicts) };
  const failed = verdicts.flatMap(({ name, verdict }) =>
    verdict.is === "failed" ? [{ name, reason: verdict.reason, message: verdict.message }] : [],
  );
  if (failed.length === 0) return undefined;
  const reason = SEVERITY.find((one) => failed.some((failure) => failure.reason === one)) ?? "ReconcileError";
  const words = WORDS[reason];
  const all = failed.map(
    ({ name, message }) => `${name}${words === undefined ? `: ${message}` : `(${message})`}`,
  );
  return { phase: "Failed", reason, message: `${words === undefined ? "" : `${words}: `}${all.join(", ")}` };
}

function conditionOf(verdicts: readonly Named[]): Plan["condition"] {
  const failures = verdicts.flatMap(({ name, verdict }) =>
    verdict.is === "waiting" && verdict.trouble === true ? [`${name}: ${verdict.note}`] : [],
  );
  return failures.length === 0 ? undefined : { reason: "ReconcileError", message: failures.join(", ") };
}

/** After so many refusals in a row the server is shown what keeps a removal from its end: the first one often passes. */
const PATIENCE = 2;

/**
 * Takes everything of a project away: containers first, then network, then volumes. Also when half of it is gone. It is
 * never given up, and never reported as failed: a project that Failed is one that is to run again.
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
  const gone = containers.length === 0 && network === undefined && volumes.size === 0;
  const subjects = gone ? [] : [...containers.map(({ service }) => service), ""];
  const failures = subjects.flatMap((subject) => history.failures.get(subject) ?? []);
  const stuck = failures.find(({ attempts }) => attempts >= PATIENCE);
  return {
    steps: [...takeDown(containers, situation).steps, ...rest],
    planAgainAt: earliest(subjects.map((subject) => waitOf(subject, situation))),
    report: gone
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

const toldIn = ({ lastEventAt = -Infinity }: Situation): number => lastEventAt;

/** When a step about `subject` that Docker refused is due again; undefined when it is due now. */
function waitOf(subject: string, situation: Situation): number | undefined {
  const trouble = situation.history.failures.get(subject);
  if (trouble === undefined) return undefined;
  const due = dueAgain(trouble, toldIn(situation));
  return situation.now < due ? due : undefined;
}

/** Those whose turn it is: stopped with grace while they run, removed by force when they do not, or do not stop. */
function takeDown(
  containers: readonly ObservedContainer[],
  situation: Situation,
): { readonly steps: readonly Step[]; readonly planAgainAt: number | undefined } {
  const steps = containers
    .filter(({ service }) => waitOf(service, situation) === undefined)
    .map(({ id, service, state }): Step => {
      const refused = situation.history.failures.get(service)?.step;
      const isAlive = state === "running" || state === "paused" || state === "restarting";
      const isStubborn = refused === "stopContainer" || refused === "removeContainer";
      return { do: isAlive && !isStubborn ? "stopContainer" : "removeContainer", id, service };
    });
  return { steps, planAgainAt: earliest(containers.map(({ service }) => waitOf(service, situation))) };
}

function earliest(times: readonly (number | undefined)[]): number | undefined {
  const known = times.filter((time) => time !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}
