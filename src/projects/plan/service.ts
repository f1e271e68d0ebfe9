// One service: from its containers to the next step. Pure.
//
// A replacement keeps the running one until the new one runs:
//
//   current            create ─▶ current + next ── stop, rename ─▶ previous + next ── rename ─▶ previous + current
//                                                                                       │ start
//   current (new)  ◀── remove previous ── runs for PROBATION ◀──────────────────────────┤
//   current (old)  ◀── rename, start ◀── remove the new one ◀── ends, or does not start ┘
//
// Every arrow is one step, and where it stands is read from the names: whoever comes after a crash goes on from there.
import { posix } from "node:path";
import { type Duration, milliseconds, seconds } from "../../lib/duration.ts";
import type { Reason } from "../../protocol/caravanserai/resources.ts";
import type { DesiredService } from "./desired.ts";
import type { ProjectHistory, StepFailure } from "./history.ts";
import { type Images, type PullPolicy, fullReference, decideImage, policyOf } from "./images.ts";
import type { ObservedContainer, ObservedProject } from "./observed.ts";
import { type RestartPolicy, decideRestart, isSpent } from "./restarts.ts";
import type { Step } from "./step.ts";
import type { Role } from "./names.ts";

/** A new container that runs for so long has taken its predecessor's place. */
export const PROBATION: Duration = seconds(2);
/** A container that we have just started may end at once: it is not said to run before. */
export const SETTLING: Duration = milliseconds(300);
/** Docker has told of an end about the time of a start: its list may show that later than the event (see worker.ts). */
const DOUBT: Duration = seconds(1);
/** After so many refused steps in a row the project has failed; the steps are repeated all the same. */
const PATIENCE = 3;
/** One that used up its restarts runs again only when it has run for so long. */
const PROVEN: Duration = seconds(10);

export interface ServicePolicy {
  readonly pull: PullPolicy | undefined;
  readonly restart: RestartPolicy;
}

export type ServiceDecision =
  /** It runs as it should. */
  | { readonly is: "running"; readonly step?: Step; readonly until?: number }
  /** It was started a moment ago, and has not ended yet. */
  | { readonly is: "starting"; readonly until: number }
  /** It ended with 0 by itself, and nobody needs it to stay. */
  | { readonly is: "completed"; readonly step?: Step }
  | { readonly is: "working"; readonly step: Step }
  | Hindered;

/** What it needs is not there yet. `step` keeps up what there is meanwhile. */
type Hindered =
  | {
      readonly is: "waiting";
      readonly note: string;
      /** Something went wrong, and is tried again: worth telling the server of. */
      readonly trouble?: boolean;
      readonly until?: number;
      readonly step?: Step;
    }
  | {
      readonly is: "failed";
      readonly reason: Reason;
      readonly message: string;
      readonly until?: number;
      readonly step?: Step;
    };

export interface ServiceView {
  readonly service: DesiredService;
  readonly observed: ObservedProject;
  readonly history: ProjectHistory;
  readonly images: Images;
  readonly policy: ServicePolicy;
  /** When Docker told last that a container of the project has ended. */
  readonly endedAt?: number | undefined;
  readonly now: number;
}

export function planService(view: ServiceView): ServiceDecision {
  const { service, observed, history, now } = view;
  const own = observed.containers.filter((container) => container.service === service.name);
  const inRole = (role: Role): ObservedContainer | undefined => own.find((one) => one.role === role);
  const [current, next, previous] = [inRole("current"), inRole("next"), inRole("previous")];
  const trouble = history.failures.get(service.name);
  if (trouble !== undefined) {
    // What was to replace a running container and is refused by Docker gives way at once.
    if (previous !== undefined && current?.state === "created")
      return giveWay(view, current, trouble.message);
    if (now < trouble.retryAt)
      return previous === undefined ? beside(stuck(trouble), view, current) : stuck(trouble);
    if (isUnstartable(trouble, current)) return work(remove(current));
  }
  const stray = own.find(({ role }) => role === undefined);
  if (stray !== undefined) return work(remove(stray));
  const lacking = lackingOf(view);
  if (lacking !== undefined) return beside(stuck(lacking), view, current);
  if (previous !== undefined) return planReplacement(view, { current, next, previous });
  if (current === undefined) return planAbsent(view, next);
  if (!matches(current, service)) return planDrift(view, current, next);
  if (next !== undefined) return work(remove(next));
  return planCurrent(view, current);
}

/** Docker's own remains of a container may be in the way of its start: it is made anew once, before it has failed. */
const isUnstartable = (
  { step, attempts, remade }: StepFailure,
  current: ObservedContainer | undefined,
): current is ObservedContainer =>
  step === "startContainer" &&
  attempts === PATIENCE - 1 &&
  !remade &&
  (current?.state === "exited" || current?.state === "created");

const stuck = ({ message, attempts, retryAt }: StepFailure): Hindered =>
  attempts >= PATIENCE
    ? { is: "failed", reason: "ReconcileError", message, until: retryAt }
    : { is: "waiting", note: message, trouble: true, until: retryAt };

/** Why Docker does not make the network or a volume that the service stands on; undefined when all of it is there. */
function lackingOf({ service, observed, history }: ServiceView): StepFailure | undefined {
  const isThere =
    observed.network !== undefined &&
    service.mounts.every(({ volume, declared }) => !declared || observed.volumes.has(volume));
  return isThere ? undefined : history.failures.get("");
}

/** Steps that bring up the container that is there, and take nothing away. */
const UPKEEP: ReadonlySet<Step["do"]> = new Set(["startContainer", "unpauseContainer", "connectNetwork"]);

/** What keeps a service from being as it should must not cost it the container that it has: that one is kept up. */
function beside(hindered: Hindered, view: ServiceView, current: ObservedContainer | undefined): Hindered {
  const isOld = current !== undefined && !matches(current, view.service);
  // One of an earlier specification that has never run is not started any more.
  if (current === undefined || (isOld && current.state === "created")) return hindered;
  const kept = planCurrent(view, current);
  const wanted = "step" in kept ? kept.step : undefined;
  const trouble = view.history.failures.get(view.service.name);
  const isRefused = trouble !== undefined && trouble.step === wanted?.do && view.now < trouble.retryAt;
  const step = wanted !== undefined && UPKEEP.has(wanted.do) && !isRefused ? wanted : undefined;
  const times = [hindered.until, "until" in kept ? kept.until : undefined].filter((at) => at !== undefined);
  return {
    ...hindered,
    ...(hindered.is === "failed" && isOld && current.state === "running"
      ? { message: `${hindered.message}; the previous one runs on` }
      : {}),
    ...(times.length === 0 ? {} : { until: Math.min(...times) }),
    ...(step === undefined ? {} : { step }),
  };
}

const giveWay = ({ service }: ServiceView, { id }: ObservedContainer, message: string): ServiceDecision =>
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
 * Whether the container was made from this service as it stands now. One of the other agent has no fingerprint: it is
 * compared with what that agent would have made, and left alone when it is the same.
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

/** As Docker writes them: "cara-shop-data:/data". */
const mountsOf = ({ mounts }: DesiredService): ReadonlySet<string> =>
  new Set(mounts.map(({ volume, path }) => `${volume}:${posix.resolve("/", path)}`));

/** What a container of the other agent has mounted and a replacement would not: it is not replaced then. */
const lostMounts = ({ fingerprint, made }: ObservedContainer, service: DesiredService): readonly string[] =>
  fingerprint === undefined ? (made?.mounts ?? []).filter((mount) => !mountsOf(service).has(mount)) : [];

/** A container knows its network by id: one that was made anew is another one, and the container does not start. */
const isAttached = ({ networks }: ObservedContainer, { network }: ObservedProject): boolean =>
  network !== undefined && networks.has(network);

function planAbsent(view: ServiceView, next: ObservedContainer | undefined): ServiceDecision {
  const { service } = view;
  if (next === undefined) return create(view, "current");
  if (!matches(next, service)) return work(remove(next));
  return work({ do: "renameContainer", id: next.id, service: service.name, to: "current" });
}

function create(view: ServiceView, role: "current" | "next"): Hindered | { is: "working"; step: Step } {
  const { service, observed, images, policy, now } = view;
  const holder = observed.taken.get(service.name);
  if (holder !== undefined) {
    const message = `the name of its container is taken by ${holder}, which is not ours; rename or remove that one`;
    return { is: "failed", reason: "ReconcileError", message };
  }
  const verdict = decideImage(service.image, images, policyOf(service.image, policy.pull), now);
  switch (verdict.image) {
    case "ready":
      return work({ do: "createContainer", service, role });
    case "pull":
      return work({ do: "pull", image: service.image });
    case "wait":
      return {
        is: "waiting",
        note: verdict.note,
        trouble: verdict.failed,
        ...(verdict.until === undefined ? {} : { until: verdict.until }),
      };
    case "failed":
  }
  return { is: "failed", reason: "ReconcileError", message: verdict.message, until: verdict.until };
}

/** The one container there should be, and it is the right one. */
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

/** A job that is done. What the ingress leads to is no job: it has to stay, whatever it ends with. */
const isCompleted = ({ exit }: ObservedContainer, { stays }: DesiredService): boolean =>
  exit?.code === 0 && exit.byItself && !stays;

/** Of one that was started by somebody else, or in an earlier life, nothing is known, and it is believed. */
function settling({
  service,
  history,
  policy,
  now,
  endedAt = -Infinity,
}: ServiceView): ServiceDecision | undefined {
  const started = history.starts.get(service.name) ?? -Infinity;
  const isProven = !isSpent(history.restarts.get(service.name) ?? [], now, policy.restart);
  const doubt = Math.abs(endedAt - started) < DOUBT ? endedAt + DOUBT : -Infinity;
  const until = Math.max(started + (isProven ? SETTLING : PROVEN), doubt);
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

/** "exit=137, out of memory: last lines …" */
export function howItEnded({ exit }: ObservedContainer): string {
  if (exit === undefined) return "ended";
  const text = `exit=${exit.code}${exit.oomKilled ? ", out of memory" : ""}`;
  return exit.lastLines === "" ? text : `${text}: ${exit.lastLines}`;
}

/** Another spec than the container was made from: the new one is made first, then the old one makes room. */
function planDrift(
  view: ServiceView,
  current: ObservedContainer,
  next: ObservedContainer | undefined,
): ServiceDecision {
  const { service, history } = view;
  const lost = lostMounts(current, service);
  if (lost.length > 0)
    return beside(notReplaced(`would not have ${lost.join(" and ")}`, "ReconcileError"), view, current);
  const failure = history.replacements.get(service.name);
  // Not tried again by itself: every try costs the old one a pause. It is when the operator assigns the project anew.
  if (failure?.fingerprint === service.fingerprint)
    return beside(notReplaced(`does not start (${failure.message})`, "ContainerCrashed"), view, current);
  if (next === undefined) {
    const made = create(view, "next");
    return made.is === "working" ? made : beside(made, view, current);
  }
  // One that has run already, or whose network is gone, is not what was made to be started now.
  if (!matches(next, service) || next.state !== "created" || !isAttached(next, view.observed))
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

/** The new version cannot take over: the old one is kept running, and the operator told. */
const notReplaced = (why: string, reason: Reason): Hindered => ({
  is: "failed",
  reason,
  message: `the new version ${why}`,
});

interface Replacement {
  readonly current: ObservedContainer | undefined;
  readonly next: ObservedContainer | undefined;
  readonly previous: ObservedContainer;
}

/** The old one has made room already. */
function planReplacement(view: ServiceView, { current, next, previous }: Replacement): ServiceDecision {
  const { service, observed, history, now } = view;
  // Nothing to fall back on.
  if (previous.state === "created" || previous.state === "dead") return work(remove(previous));
  if (current === undefined) {
    const heir = next !== undefined && matches(next, service) ? next : previous;
    return work({ do: "renameContainer", id: heir.id, service: service.name, to: "current" });
  }
  if (!matches(current, service)) {
    // The spec changed once more meanwhile. Of two that are out of date the one that runs is kept.
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
  // Once more: the machine may have been rebooted just now, which ends what is well.
  const once = { limit: 1, window: PROBATION * 10 };
  const again = decideRestart(history.restarts.get(service.name) ?? [], current.since, now, once);
  if (again.do === "give up") return giveWay(view, current, howItEnded(current));
  return again.do === "start"
    ? work(start(current, true))
    : { is: "waiting", note: `${howItEnded(current)}, is started again`, until: again.until };
}
