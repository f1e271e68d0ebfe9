// Keeps a worker for each project of this node: sets its goal from the server's list and wakes it when something may have changed.
import { messageOf } from "../../lib/agent-error.ts";
import type { Duration } from "../../lib/duration.ts";
import { type LoopRegistry, loop } from "../../lib/loop.ts";
import { createSlots } from "../../lib/slots.ts";
import type { CaravanseraiApi } from "../../control/caravanserai-api.ts";
import { retry } from "../../control/retry.ts";
import type { Log } from "../../platform/log.ts";
import type { ProjectStatus, Reason } from "../../protocol/caravanserai/resources.ts";
import type { AssignedNames } from "../node/assigned-names.ts";
import type { Assignment } from "../node/assignment.ts";
import { type DesiredProject, desire } from "../plan/desired.ts";
import { type OwnerPolicy, applyOwnerPolicy } from "../plan/owner.ts";
import type { Continuity } from "../node/continuity.ts";
import type { EngineEvent } from "../plan/engine.ts";
import { type Orphan, createOrphanWatch } from "./orphan-watch.ts";
import type { OrphanPolicy, OrphanCandidate } from "../plan/orphans.ts";
import type { Plan } from "../plan/project.ts";
import { type OnList, startsOver, onList } from "./change.ts";
import type { Daemon } from "./daemon.ts";
import type { Snapshots } from "./snapshots.ts";
import { type Reports, dueReport } from "../node/reports.ts";
import { type Worker, type WorkerPorts, createWorker } from "./worker.ts";
import type { Goal, WorkerStatus } from "./worker-state.ts";

export interface ReconcilePorts {
  readonly api: Pick<CaravanseraiApi, "place" | "nodePlace">;
  readonly node: string;
  readonly assigned: AssignedNames;
  readonly continuity: Continuity;
  readonly snapshots: Snapshots;
  readonly daemon: Pick<Daemon, "ready" | "lost">;
  readonly reports: Pick<Reports, "submit" | "delivered" | "forget">;
  readonly apply: WorkerPorts["apply"];
  readonly pulls: WorkerPorts["pulls"];
  readonly registry: LoopRegistry;
  readonly log: Log;
}

export interface ReconcilePolicy {
  readonly service: WorkerPorts["policy"];
  readonly parallel: number;
  readonly resync: Duration;
  readonly orphans: OrphanPolicy;
  readonly owner: OwnerPolicy;
}

export interface ProjectState extends Partial<WorkerStatus> {
  readonly name: string;
  /** The server's; "none" for one that is not on its list. */
  readonly phase: string;
}

export interface Reconcile {
  assign(assignment: Assignment): void;
  /** Something changed on Docker; without an event, to any project. */
  wake(event?: EngineEvent): void;
  /** A pull started or ended. */
  pullsChanged(): void;
  states(): readonly ProjectState[];
  /** The specifications of the projects that should run here; the same array until it changes. */
  desired(): readonly DesiredProject[];
  /** Whether a project that left the list was proven, since the last list, to be no longer ours. */
  isLost(name: string): boolean;
  /** The specification of a project that is ours, in any phase; undefined for others. */
  specOf(name: string): DesiredProject | undefined;
  /** What would be removed, why and when, and what is only shown. Removes nothing. */
  orphans(): readonly Orphan[];
  readonly done: Promise<void>;
}

/** Starts a worker for each project of the assignment and the loops that wake them. Stops all when `signal` aborts. */
export function startReconcile(
  ports: ReconcilePorts,
  policy: ReconcilePolicy,
  signal: AbortSignal,
): Reconcile {
  const { assigned, continuity, snapshots, daemon, reports, registry, log } = ports;
  const workers = new Map<string, Worker>();
  const warned = new Map<string, string>();
  /** Names on the server's newest list. */
  let listed: ReadonlySet<string> = new Set();
  /** The listed projects, and those that left the list without proof that they are no longer ours: they keep running. */
  let held = new Map<string, OnList>();
  /** Projects that were proven, since the last list, to be no longer ours. */
  const lost = new Set<string>();
  let desired: readonly DesiredProject[] = [];
  /** Whether the server has answered since the agent started. */
  let hasAnswered = false;
  /** Number of extra snapshots still owed for events of unassigned projects. */
  let extraSnapshots = 0;

  const workerPorts: WorkerPorts = {
    snapshots,
    daemon,
    apply: ports.apply,
    pulls: ports.pulls,
    policy: policy.service,
    slots: createSlots(policy.parallel),
    onPlan: report,
    log,
  };

  const watch = createOrphanWatch(
    {
      ...ports,
      listed: () => listed,
      retained: () => [...held.keys()].filter((name) => !listed.has(name)),
      isRemoving: (name) => held.get(name)?.goal?.do === "remove",
      isAtWork: (name) => workers.get(name)?.isWorking() === true,
      onDecision: actOn,
    },
    policy.orphans,
  );

  function workerOf(project: string): Worker {
    const known = workers.get(project);
    if (known !== undefined) return known;
    const worker = createWorker(project, workerPorts, signal);
    workers.set(project, worker);
    return worker;
  }

  /** Reports only projects on the server's list. */
  function report(project: string, plan: Pick<Plan, "report" | "condition"> | undefined): void {
    const on = held.get(project);
    if (on === undefined || !listed.has(project)) return;
    const { phase, conditions } = on.assigned;
    const status = plan?.report ?? (plan?.condition && { phase, ...plan.condition });
    const outdated = JSON.stringify(conditions) === on.outdated;
    const place = { phase, conditions, outdated, askedAt: on.askedAt };
    reports.submit(project, dueReport(status, place, reports.delivered(project)), on.askedAt);
  }

  function assign({ projects, retained, askedAt }: Assignment): void {
    hasAnswered ||= askedAt !== undefined;
    // A stored list, or one requested before the server lost its data, says nothing about its present data.
    const isCurrent = askedAt !== undefined && askedAt > continuity.changedAt();
    assigned.add(
      projects.map(({ name }) => name),
      isCurrent ? continuity.memory() : undefined,
    );
    const before = held;
    listed = new Set(projects.map(({ name }) => name));
    held = new Map(
      [...projects, ...retained].map((one) => {
        const known = before.get(one.name);
        return [one.name, onList(one, listed.has(one.name) ? askedAt : known?.askedAt, known, policy.owner)];
      }),
    );
    lost.clear();
    updateDesired();
    for (const name of before.keys()) if (!held.has(name)) release(name);
    for (const [name, now] of held) {
      if (!listed.has(name)) {
        // Of a stored list: another node may have it now. Do not bring it up before the server answers.
        if (!before.has(name) && now.goal?.do === "remove") workerOf(name).setGoal(now.goal, "keep");
        continue;
      }
      watch.isListed(name);
      if (!before.has(name)) reports.forget(name);
      updateGoal(name, before.get(name), now);
      const { spec } = now.assigned;
      const isUnreadable = now.goal === undefined && "problem" in spec;
      report(name, isUnreadable ? { report: unreadable(spec) } : workers.get(name)?.plan());
    }
    for (const [name, worker] of workers)
      if (worker.goal() === undefined && !worker.isWorking()) workers.delete(name);
  }

  function updateGoal(name: string, before: OnList | undefined, now: OnList): void {
    const isFresh = startsOver(before, now, reports.delivered(name));
    if (isFresh && before !== undefined && reports.delivered(name) !== undefined) reports.forget(name);
    if (now.text !== before?.text) warn(name, now);
    if (now.goal === undefined) workers.get(name)?.setGoal(undefined, "forget");
    else if (isFresh || workers.get(name)?.goal() !== now.goal)
      workerOf(name).setGoal(now.goal, isFresh ? "forget" : "keep");
  }

  function updateDesired(): void {
    const next = [...held.values()].flatMap(({ goal }) => (goal?.do === "keep" ? [goal.desired] : []));
    if (next.length !== desired.length || next.some((one, i) => one !== desired[i])) desired = next;
  }

  /** It is no longer ours: stop working on it. */
  function lose(name: string): void {
    if (!held.delete(name)) return;
    lost.add(name);
    updateDesired();
    release(name);
  }

  function release(name: string): void {
    workers.get(name)?.setGoal(undefined, "forget");
    reports.forget(name);
    warned.delete(name);
  }

  /** Logs each text once, also when other parts of the specification change. */
  function warn(name: string, { goal, assigned: { spec } }: OnList): void {
    const warnings = goal?.do === "keep" ? goal.desired.warnings : "problem" in spec ? [spec.problem] : [];
    const text = warnings.join("; ");
    if (text !== "" && warned.get(name) !== text) log.warn("projects", `${name}: ${text}`);
    warned.set(name, text);
  }

  /** Asks the server about projects that exist here and are on no list; see orphan-watch.ts. */
  async function inspect(signal: AbortSignal): Promise<string> {
    if (hasAnswered && extraSnapshots > 0) {
      extraSnapshots--;
      await snapshots.fresh().catch((error: unknown) => daemon.lost(error));
    }
    const snapshot = snapshots.latest();
    if (!hasAnswered || snapshot === undefined) return "waits for the server and for Docker";
    for (const [name, worker] of workers) {
      if (!isOver(name, worker)) continue;
      worker.setGoal(undefined, "forget");
      lose(name);
    }
    return watch.inspect(snapshot, signal);
  }

  /** Carries out the decision about a project that is not listed. A removal that the server ordered continues in any case. */
  function actOn(name: string, { decision, reason }: OrphanCandidate): void {
    const on = held.get(name);
    if (on?.goal?.do === "remove") return;
    if (decision === "orphan" || decision === "remove" || decision === "terminated") lose(name);
    const removal = removalOf(decision, reason);
    const worker = workers.get(name);
    if (removal !== undefined) {
      if (worker?.goal()?.do !== "remove") workerOf(name).setGoal(removal, "keep");
    } else if (on?.goal !== undefined && decision === "kept") {
      if (worker?.goal() !== on.goal) workerOf(name).setGoal(on.goal, "keep");
    } else if (worker?.goal()?.do === "remove") worker.setGoal(undefined, "keep");
  }

  /** Whether it is the removal of an unlisted project, with nothing left to remove. */
  function isOver(name: string, worker: Worker): boolean {
    return !listed.has(name) && worker.goal()?.do === "remove" && isRemoved(worker.plan());
  }

  function wake({ project, action }: EngineEvent = { project: "", action: "" }): void {
    // No worker takes snapshots for an unlisted project. Two, because Docker's list may show the change after the event.
    if (project !== "" && !held.has(project)) extraSnapshots = 2;
    if (project !== "") workers.get(project)?.touch(/\bdie$/.test(action));
    // The event stream was just opened: changes before that may not be in Docker's list yet.
    else for (const worker of workers.values()) worker.touch();
  }

  const wakeAll = (): void => {
    for (const worker of workers.values()) worker.wake();
  };
  signal.addEventListener("abort", wakeAll, { once: true });

  const resync = loop(
    { name: "resync", every: policy.resync, phase: "random", retry: retry.local },
    async (signal) => {
      wakeAll();
      await daemon.ready(signal);
      if (!signal.aborted) await snapshots.fresh().catch((error: unknown) => daemon.lost(error));
    },
    registry,
    signal,
  );
  const orphans = loop(
    {
      name: "orphans",
      every: policy.orphans.poll,
      retry: retry.local,
      onError: (error) => log.error("orphans", messageOf(error)),
    },
    async (signal, report) => report.note(await inspect(signal)),
    registry,
    signal,
  );

  return {
    assign,
    wake,
    desired: () => desired,
    isLost: (name) => lost.has(name),
    specOf(name) {
      const on = held.get(name);
      if (on?.goal?.do === "keep") return on.goal.desired;
      if (on === undefined || !("project" in on.assigned.spec)) return undefined;
      return applyOwnerPolicy(desire(on.assigned.spec.project), policy.owner);
    },
    pullsChanged() {
      for (const worker of workers.values()) if ((worker.plan()?.notes.length ?? 1) > 0) worker.wake();
    },
    states: () => [
      ...[...held].map(([name, { assigned, goal }]) => ({
        name,
        phase: listed.has(name) ? assigned.phase : "none",
        ...(goal === undefined && "problem" in assigned.spec
          ? { state: "failed" as const, note: assigned.spec.problem }
          : workers.get(name)?.status()),
      })),
      ...[...workers]
        .filter(([name, worker]) => !held.has(name) && worker.goal() !== undefined)
        .map(([name, worker]) => ({ name, phase: "none", ...worker.status() })),
    ],
    orphans: () => watch.orphans(),
    done: (async () => {
      await Promise.all([resync, orphans]);
      await Promise.all([...workers.values()].map((worker) => worker.settled()));
    })(),
  };
}

const unreadable = ({ problem, reason }: { problem: string; reason: Reason }): ProjectStatus => ({
  phase: "Failed",
  reason,
  message: problem,
});

/** Undefined for a decision without removal: without an answer a removal stops until the next one that orders it. */
function removalOf(decision: OrphanCandidate["decision"], why: string): Goal | undefined {
  if (decision === "terminated") return { do: "remove", why, what: "all" };
  return decision === "remove" ? { do: "remove", why, what: "removable" } : undefined;
}

const isRemoved = (plan: Plan | undefined): boolean => plan?.report?.phase === "Terminated";
