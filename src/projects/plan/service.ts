// Plans one service: from its containers to the next step. Pure.
//
// A replacement does not remove the running container before the new one runs:
//
//   current            create ─▶ current + next ── stop, rename ─▶ previous + next ── rename ─▶ previous + current
//                                                                                       │ start
//   current (new)  ◀── remove previous ── runs for PROBATION ◀──────────────────────────┤
//   current (old)  ◀── rename, start ◀── remove the new one ◀── ends, or does not start ┘
//
// Every arrow is one step, and the names of the containers show the progress: after a crash the agent continues from there.
import { posix } from "node:path";
import type { SteadyTime } from "../../lib/clock.ts";
import { type Duration, milliseconds, seconds } from "../../lib/duration.ts";
import type { Reason } from "../../protocol/caravanserai/resources.ts";
import type { DesiredService } from "./desired.ts";
import type { ProjectHistory, StepFailure } from "./history.ts";
import { type Images, type PullPolicy, fullReference, decideImage, policyOf } from "./images.ts";
import type { ObservedContainer, ObservedProject } from "./observed.ts";
import { type RestartPolicy, decideRestart, isSpent } from "./restarts.ts";
import type { Step } from "./step.ts";
import type { Role } from "./names.ts";

/** A new container that has run for so long replaces the previous one, which is removed then. */
export const PROBATION: Duration = seconds(2);
/** A started container is not reported as running before: it may end at once. */
export const SETTLING: Duration = milliseconds(300);
/** When an event reports an end within this time of a start, wait as long: the list shows an end after the event (worker.ts). */
const LATE_LIST: Duration = seconds(1);
/** The service is reported as failed after so many refused steps in a row. The steps are still repeated. */
const REFUSALS_BEFORE_FAILED = 3;
/** A container that used up its restarts is reported as running only after it has run for so long. */
const PROVEN: Duration = seconds(10);

export interface ServicePolicy {
  readonly pull: PullPolicy | undefined;
  readonly restart: RestartPolicy;
}

export type ServiceDecision =
  /** It runs as it should. */
  | { readonly is: "running"; readonly step?: Step; readonly until?: SteadyTime }
  /** It was started a moment ago and has not ended. */
  | { readonly is: "starting"; readonly until: SteadyTime }
  /** It ended with 0 by itself, and no ingress rule leads to it. */
  | { readonly is: "completed"; readonly step?: Step }
  | { readonly is: "working"; readonly step: Step }
  | Blocked;

/** It cannot be brought to the desired state now. `step` keeps the present container running meanwhile. */
type Blocked =
  | {
      readonly is: "waiting";
      readonly note: string;
      /** Something failed and is tried again: reported to the server as a condition. */
      readonly isFailure?: boolean;
      readonly until?: SteadyTime;
      readonly step?: Step;
    }
  | {
      readonly is: "failed";
      readonly reason: Reason;
      readonly message: string;
      readonly until?: SteadyTime;
      readonly step?: Step;
    };

export interface ServiceView {
  readonly service: DesiredService;
  readonly observed: ObservedProject;
  readonly history: ProjectHistory;
  readonly images: Images;
  readonly policy: ServicePolicy;
  /** When an event last reported the end of a container of the project. */
  readonly endedAt?: SteadyTime | undefined;
  readonly now: SteadyTime;
}

/** Decides what a service needs next. Pure. */
export function planService(view: ServiceView): ServiceDecision {
  const { service, observed, history, now } = view;
  // Containers from before stay as they are: the owner can remove them, the control plane cannot start them.
  if (service.refusal !== undefined)
    return { is: "failed", reason: "ReconcileError", message: service.refusal };
  const own = observed.containers.filter((container) => container.service === service.name);
  const inRole = (role: Role): ObservedContainer | undefined => own.find((one) => one.role === role);
  const [current, next, previous] = [inRole("current"), inRole("next"), inRole("previous")];
  const failure = history.failures.get(service.name);
  if (failure !== undefined) {
    // Remove a replacement at once when Docker refuses to start it.
    if (previous !== undefined && current?.state === "created")
      return removeReplacement(view, current, failure.message);
    if (now < failure.retryAt)
      return previous === undefined ? keepRunning(refused(failure), view, current) : refused(failure);
    if (isUnstartable(failure, current)) return work(remove(current));
  }
  const stray = own.find(({ role }) => role === undefined);
  if (stray !== undefined) return work(remove(stray));
  const missing = missingFoundation(view);
  if (missing !== undefined) return keepRunning(refused(missing), view, current);
  if (previous !== undefined) return planReplacement(view, { current, next, previous });
  if (current === undefined) return planAbsent(view, next);
  if (!isUpToDate(current, service)) return planDrift(view, current, next);
  if (next !== undefined) return work(remove(next));
  return planCurrent(view, current);
}

/** Docker's own remains of a container may prevent its start: it is created again once, before the service has failed. */
const isUnstartable = (
  { step, attempts, isRecreated }: StepFailure,
  current: ObservedContainer | undefined,
): current is ObservedContainer =>
  step === "startContainer" &&
  attempts === REFUSALS_BEFORE_FAILED - 1 &&
  !isRecreated &&
  (current?.state === "exited" || current?.state === "created");

const refused = ({ message, attempts, retryAt }: StepFailure): Blocked =>
  attempts >= REFUSALS_BEFORE_FAILED
    ? { is: "failed", reason: "ReconcileError", message, until: retryAt }
    : { is: "waiting", note: message, isFailure: true, until: retryAt };

/** Why Docker refuses the network or a volume that the service needs; undefined when they exist, or were not refused. */
function missingFoundation({ service, observed, history }: ServiceView): StepFailure | undefined {
  const exists =
    observed.network !== undefined &&
    service.mounts.every(({ volume, declared }) => !declared || observed.volumes.has(volume));
  return exists ? undefined : history.failures.get("");
}

/** Steps that bring up the present container and remove nothing. */
const UPKEEP: ReadonlySet<Step["do"]> = new Set(["startContainer", "unpauseContainer", "connectNetwork"]);

/** Adds the step that keeps the present container running while the service is blocked. */
function keepRunning(blocked: Blocked, view: ServiceView, current: ObservedContainer | undefined): Blocked {
  const isOld = current !== undefined && !isUpToDate(current, view.service);
  // Do not start a container of an earlier specification that has never run.
  if (current === undefined || (isOld && current.state === "created")) return blocked;
  const upkeep = planCurrent(view, current);
  const next = "step" in upkeep ? upkeep.step : undefined;
  const failure = view.history.failures.get(view.service.name);
  const isRefused = failure !== undefined && failure.step === next?.do && view.now < failure.retryAt;
  const step = next !== undefined && UPKEEP.has(next.do) && !isRefused ? next : undefined;
  const times = [blocked.until, "until" in upkeep ? upkeep.until : undefined].filter(
    (at) => at !== undefined,
  );
  return {
    ...blocked,
    ...(blocked.is === "failed" && isOld && current.state === "running"
      ? { message: `${blocked.message}; the previous one still runs` }
      : {}),
    ...(times.length === 0 ? {} : { until: Math.min(...times) }),
    ...(step === undefined ? {} : { step }),
  };
}

const removeReplacement = (
  { service }: ServiceView,
  { id }: ObservedContainer,
  message: string,
): ServiceDecision =>
  work({
    do: "removeContainer",
    id,
    service: service.name,
    failed: { fingerprint: service.fingerprint, message },
  });

const work = (step: Step): { is: "working"; step: Step } => ({ is: "working", step });
const remove = ({ id, service }: ObservedContainer): Step => ({ do: "removeContainer", id, service });
const start = ({ id, service }: ObservedContainer, again: boolean): Step => ({
  do: "startContainer",
  id,
  service,
  again,
});

/**
 * Whether the container was made from the service as it is now. A container of the Go agent has no fingerprint: its image,
 * environment and mounts are compared instead.
 */
export function matches({ fingerprint, image, made }: ObservedContainer, service: DesiredService): boolean {
  if (fingerprint !== undefined || made === undefined) return fingerprint === service.fingerprint;
  return (
    fullReference(image) === fullReference(service.image) &&
    service.env.every((variable) => made.env.includes(variable)) &&
    made.mounts.length === service.mounts.length &&
    made.mounts.every((mount) => mountsOf(service).has(mount))
  );
}

/** One without a fingerprint has none of the owner's limits. */
const isUpToDate = (container: ObservedContainer, service: DesiredService): boolean =>
  matches(container, service) && (container.fingerprint !== undefined || service.limits === undefined);

/** In Docker's form: "cara-shop-data:/data". */
const mountsOf = ({ mounts }: DesiredService): ReadonlySet<string> =>
  new Set(mounts.map(({ volume, path }) => `${volume}:${posix.resolve("/", path)}`));

/** Mounts of a container of the Go agent that a replacement would not have: it is not replaced then. */
const lostMounts = ({ fingerprint, made }: ObservedContainer, service: DesiredService): readonly string[] =>
  fingerprint === undefined ? (made?.mounts ?? []).filter((mount) => !mountsOf(service).has(mount)) : [];

/** A container refers to its network by id: after the network was created again, the container does not start. */
const isAttached = ({ networks }: ObservedContainer, { network }: ObservedProject): boolean =>
  network !== undefined && networks.has(network);

function planAbsent(view: ServiceView, next: ObservedContainer | undefined): ServiceDecision {
  const { service } = view;
  if (next === undefined) return create(view, "current");
  if (!isUpToDate(next, service)) return work(remove(next));
  return work({ do: "renameContainer", id: next.id, service: service.name, to: "current" });
}

function create(view: ServiceView, role: "current" | "next"): Blocked | { is: "working"; step: Step } {
  const { service, observed, images, policy, now } = view;
  const holder = observed.taken.get(service.name);
  if (holder !== undefined) {
    const message = `the name of its container is taken by ${holder}, which is not ours; rename or remove that one`;
    return { is: "failed", reason: "ReconcileError", message };
  }
  const decision = decideImage(service.image, images, policyOf(service.image, policy.pull), now);
  switch (decision.image) {
    case "ready":
      return work({ do: "createContainer", service, role });
    case "pull":
      return work({ do: "pull", image: service.image });
    case "wait":
      return {
        is: "waiting",
        note: decision.note,
        isFailure: decision.isFailure,
        ...(decision.until === undefined ? {} : { until: decision.until }),
      };
    case "failed":
  }
  return { is: "failed", reason: "ReconcileError", message: decision.message, until: decision.until };
}

/** There is one container, and it matches the service. */
function planCurrent(view: ServiceView, current: ObservedContainer): ServiceDecision {
  const { service, observed } = view;
  const attached = isAttached(current, observed);
  switch (current.state) {
    case "running":
      if (observed.network === undefined || attached) return settling(view) ?? { is: "running" };
      return {
        is: "running",
        step: {
          do: "connectNetwork",
          id: current.id,
          service: service.name,
          network: observed.network,
        },
      };
    case "created":
      return work(attached ? start(current, false) : remove(current));
    case "exited":
      if (isCompleted(current, service)) return { is: "completed" };
      return attached ? restart(view, current) : work(remove(current));
    case "paused":
      return work({ do: "unpauseContainer", id: current.id, service: service.name });
    case "dead":
      return work(remove(current));
    case "restarting":
    case "removing":
  }
  return { is: "waiting", note: `its container is ${current.state}` };
}

/** Whether it is a job that is done. A service with an ingress rule is no job: it must run, whatever its exit code. */
const isCompleted = ({ exit }: ObservedContainer, { isServed }: DesiredService): boolean =>
  exit?.code === 0 && exit.byItself && !isServed;

/** Undefined when it counts as running; so does a container that was started by somebody else, or before this agent started. */
function settling({
  service,
  history,
  policy,
  now,
  endedAt = -Infinity,
}: ServiceView): ServiceDecision | undefined {
  const started = history.starts.get(service.name) ?? -Infinity;
  const isProven = !isSpent(history.restarts.get(service.name) ?? [], now, policy.restart);
  const listUpToDate = Math.abs(endedAt - started) < LATE_LIST ? endedAt + LATE_LIST : -Infinity;
  const until = Math.max(started + (isProven ? SETTLING : PROVEN), listUpToDate);
  return now < until ? { is: "starting", until } : undefined;
}

function restart({ service, history, policy, now }: ServiceView, ended: ObservedContainer): ServiceDecision {
  const decision = decideRestart(history.restarts.get(service.name) ?? [], ended.since, now, policy.restart);
  if (decision.do === "start") return work(start(ended, true));
  if (decision.do === "wait") {
    return { is: "waiting", note: `${howItEnded(ended)}, is started again`, until: decision.until };
  }
  return {
    is: "failed",
    reason: ended.exit?.code === 0 ? "ContainerExited" : "ContainerCrashed",
    message: howItEnded(ended),
    ...(decision.until === undefined ? {} : { until: decision.until }),
  };
}

/** For a message: "exit=137, out of memory: last lines …" */
export function howItEnded({ exit }: ObservedContainer): string {
  if (exit === undefined) return "ended";
  const text = `exit=${exit.code}${exit.oomKilled ? ", out of memory" : ""}`;
  return exit.lastLines === "" ? text : `${text}: ${exit.lastLines}`;
}

/** The specification changed: creates the new container first, then stops the old one. */
function planDrift(
  view: ServiceView,
  current: ObservedContainer,
  next: ObservedContainer | undefined,
): ServiceDecision {
  const { service, history } = view;
  const lost = lostMounts(current, service);
  if (lost.length > 0)
    return keepRunning(notReplaced(`would not have ${lost.join(" and ")}`, "ReconcileError"), view, current);
  const failure = history.replacements.get(service.name);
  // Not tried again by itself: every try interrupts the old container. It is tried when the project is assigned again.
  if (failure?.fingerprint === service.fingerprint)
    return keepRunning(notReplaced(`does not start (${failure.message})`, "ContainerCrashed"), view, current);
  if (next === undefined) {
    const made = create(view, "next");
    return made.is === "working" ? made : keepRunning(made, view, current);
  }
  // Create it again when it has already run, or when its network was removed.
  if (!isUpToDate(next, service) || next.state !== "created" || !isAttached(next, view.observed))
    return work(remove(next));
  switch (current.state) {
    case "running":
    case "paused":
    case "restarting":
      return work({ do: "stopContainer", id: current.id, service: service.name });
    case "removing":
      return { is: "waiting", note: "the old container is being removed" };
    case "created":
    case "dead":
      return work(remove(current));
    case "exited":
  }
  return work({ do: "renameContainer", id: current.id, service: service.name, to: "previous" });
}

/** The new version cannot replace the old one, which still runs. */
const notReplaced = (why: string, reason: Reason): Blocked => ({
  is: "failed",
  reason,
  message: `the new version ${why}`,
});

interface Replacement {
  readonly current: ObservedContainer | undefined;
  readonly next: ObservedContainer | undefined;
  readonly previous: ObservedContainer;
}

/** The old container was stopped and renamed already. */
function planReplacement(view: ServiceView, { current, next, previous }: Replacement): ServiceDecision {
  const { service, observed, history, now } = view;
  // The previous container is of no use as a fallback.
  if (previous.state === "created" || previous.state === "dead") return work(remove(previous));
  if (current === undefined) {
    const successor = next !== undefined && isUpToDate(next, service) ? next : previous;
    return work({ do: "renameContainer", id: successor.id, service: service.name, to: "current" });
  }
  if (!isUpToDate(current, service)) {
    // The spec changed again meanwhile: of two outdated containers, remove the one that does not run.
    return work(remove(current.state === "running" ? previous : current));
  }
  switch (current.state) {
    case "running":
      return now - current.since >= PROBATION
        ? { is: "running", step: remove(previous) }
        : { is: "waiting", note: "the new container is on probation", until: current.since + PROBATION };
    case "created":
      return work(isAttached(current, observed) ? start(current, false) : remove(current));
    case "paused":
      return work({ do: "unpauseContainer", id: current.id, service: service.name });
    case "restarting":
    case "removing":
      return { is: "waiting", note: `its container is ${current.state}` };
    case "dead":
      return work(remove(current));
    case "exited":
  }
  if (isCompleted(current, service)) return { is: "completed", step: remove(previous) };
  if (!isAttached(current, observed)) return work(remove(current));
  // Start it once more: a reboot of the machine may have ended it.
  const once = { limit: 1, window: PROBATION * 10 };
  const again = decideRestart(history.restarts.get(service.name) ?? [], current.since, now, once);
  if (again.do === "give up") return removeReplacement(view, current, howItEnded(current));
  return again.do === "start"
    ? work(start(current, true))
    : { is: "waiting", note: `${howItEnded(current)}, is started again`, until: again.until };
}
