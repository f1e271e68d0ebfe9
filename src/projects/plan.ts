// One project: from what is wanted and what was seen to the next steps and the report. Pure; made anew after every round.
import type { ProjectStatus, Reason } from "../protocol/caravanserai/resources.ts";
import type { DesiredProject } from "./desired.ts";
import type { ProjectHistory } from "./history.ts";
import type { Images } from "./images.ts";
import type { ObservedContainer, ObservedProject } from "./observed.ts";
import { type ServicePolicy, type Verdict, planService } from "./plan-service.ts";
import type { Step } from "./step.ts";

export interface Plan {
  /** To be carried out now, in this order; those of different services do not depend on each other. */
  readonly steps: readonly Step[];
  /** When to look again although nothing happened, of the steady clock. */
  readonly lookAt: number | undefined;
  /** What the server should be told, if it has not been told. */
  readonly report: ProjectStatus | undefined;
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
  /** Of the steady clock, as every time in a plan. */
  readonly now: number;
}

/** Brings a project up and keeps it there. Never removes a network or a volume, nor anything without our labels. */
export function planProject(desired: DesiredProject, situation: Situation): Plan {
  const foundation = planFoundation(desired, situation);
  if (foundation !== undefined) return foundation;
  const { observed } = situation;
  const verdicts = desired.services.map((service) => ({
    name: service.name,
    verdict: planService({ service, ...situation }),
  }));
  // Services that are not in the spec any more go once all others run, so that a rename is not an outage.
  const superfluous = observed.containers.filter(
    ({ service }) => !desired.services.some(({ name }) => name === service),
  );
  const settled = verdicts.every(({ verdict }) => verdict.is === "running");
  const steps = [
    ...verdicts.flatMap(({ verdict }) => ("step" in verdict ? (verdict.step ?? []) : [])),
    ...(settled ? superfluous.map(takeDown) : []),
  ];
  return {
    steps,
    lookAt: earliest(verdicts.map(({ verdict }) => ("until" in verdict ? verdict.until : undefined))),
    report: reportOf(verdicts),
    notes: verdicts.flatMap(({ name, verdict }) => {
      if (verdict.is === "waiting") return [`${name}: ${verdict.note}`];
      return verdict.is === "failed" ? [`${name}: ${verdict.message}`] : [];
    }),
  };
}

/** The network and the volumes come first, and a network that Docker refuses is everybody's trouble. */
function planFoundation(desired: DesiredProject, { observed, history, now }: Situation): Plan | undefined {
  const steps: Step[] = [];
  if (observed.network === undefined) steps.push({ do: "createNetwork", name: desired.network });
  for (const name of desired.volumes)
    if (!observed.volumes.has(name)) steps.push({ do: "createVolume", name });
  if (steps.length === 0) return undefined;
  const trouble = history.troubles.get("");
  if (trouble === undefined || now >= trouble.retryAt)
    return { steps, lookAt: undefined, report: undefined, notes: [] };
  return {
    steps: [],
    lookAt: trouble.retryAt,
    report:
      trouble.attempts < 3
        ? undefined
        : { phase: "Failed", reason: "ReconcileError", message: trouble.message },
    notes: [trouble.message],
  };
}

interface Named {
  readonly name: string;
  readonly verdict: Verdict;
}

/** Crashes are named before what was never up, since they name the services in the words that clients know. */
const SEVERITY: readonly Reason[] = ["ContainerCrashed", "ContainerExited", "ContainerMissing"];
const WORDS: Partial<Record<Reason, string>> = {
  ContainerCrashed: "Containers crashed",
  ContainerExited: "Containers exited",
};

function reportOf(verdicts: readonly Named[]): ProjectStatus | undefined {
  if (verdicts.every(({ verdict }) => verdict.is === "running")) {
    const names = verdicts.map(({ name }) => name).join(", ");
    return { phase: "Running", reason: "ContainersRunning", message: `Containers running: ${names}` };
  }
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

/** Takes everything of a project away: containers first, then network, then volumes. Also when half of it is gone. */
export function planTeardown({ observed, history, now }: Situation): Plan {
  const busy = [...history.troubles.values()].filter(({ retryAt }) => now < retryAt);
  const blocked = (subject: string): boolean => now < (history.troubles.get(subject)?.retryAt ?? 0);
  const steps: Step[] = observed.containers.filter(({ service }) => !blocked(service)).map(takeDown);
  if (observed.containers.length === 0 && !blocked("")) {
    if (observed.network !== undefined) steps.push({ do: "removeNetwork", id: observed.network });
    for (const name of observed.volumes) steps.push({ do: "removeVolume", name });
  }
  const gone =
    observed.containers.length === 0 && observed.network === undefined && observed.volumes.size === 0;
  const stuck = busy.find(({ attempts }) => attempts >= 3);
  return {
    steps,
    lookAt: earliest(busy.map(({ retryAt }) => retryAt)),
    report: gone
      ? {
          phase: "Terminated",
          reason: "ResourcesRemoved",
          message: "Containers, network and volumes removed",
        }
      : stuck && { phase: "Failed", reason: "RemoveError", message: stuck.message },
    notes: busy.map(({ message }) => message),
  };
}

/** Stopped with grace while it runs, removed by force when it does not. */
function takeDown({ id, service, state }: ObservedContainer): Step {
  return state === "running" || state === "paused" || state === "restarting"
    ? { do: "stopContainer", id, service }
    : { do: "removeContainer", id, service };
}

function earliest(times: readonly (number | undefined)[]): number | undefined {
  const known = times.filter((time) => time !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}
