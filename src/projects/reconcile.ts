// The projects of this node: a worker for each, aimed by what the server wants, woken by whatever may have changed.
import { AgentError, messageOf } from "../lib/agent-error.ts";
import type { Duration } from "../lib/duration.ts";
import { type LoopRegistry, loop } from "../lib/loop.ts";
import { createSlots } from "../lib/slots.ts";
import type { CaravanseraiApi } from "../control/caravanserai-api.ts";
import type { Log } from "../platform/log.ts";
import { steadyNow } from "../platform/steady-clock.ts";
import type { ProjectStatus } from "../protocol/caravanserai/resources.ts";
import type { AssignedNames } from "./assigned-names.ts";
import type { Assignment } from "./assignment.ts";
import type { DesiredProject } from "./desired.ts";
import { type Answer, type OrphanPolicy, type Suspect, UNKNOWN, judge } from "./orphans.ts";
import type { EngineEvent, Look } from "./engine.ts";
import type { Plan } from "./plan.ts";
import { type OnList, beginsAnew, onList } from "./reconcile-change.ts";
import type { Daemon } from "./reconcile-daemon.ts";
import type { Looks } from "./reconcile-looks.ts";
import { isNothing, ownPart } from "./reconcile-view.ts";
import { type Reports, dueReport } from "./reports.ts";
import { type Worker, type WorkerPorts, createWorker } from "./worker.ts";
import type { Standing } from "./worker-state.ts";

export interface ReconcilePorts {
  readonly api: Pick<CaravanseraiApi, "place">;
  readonly node: string;
  /** Names that this agent's node has and had: what carries another one's label is left to that one. */
  readonly ownNodes: ReadonlySet<string>;
  readonly assigned: AssignedNames;
  readonly looks: Looks;
  readonly daemon: Pick<Daemon, "ready" | "lost">;
  readonly reports: Pick<Reports, "want" | "delivered" | "forget">;
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
}

export interface ProjectState extends Partial<Standing> {
  readonly name: string;
  /** The server's; "none" for one that is not on its list. */
  readonly phase: string;
}

export interface Orphan {
  readonly name: string;
  readonly verdict: Suspect["verdict"];
  readonly reason: string;
  /** When it is removed, in milliseconds since the epoch; undefined while that is not decided, or never. */
  readonly due: number | undefined;
  readonly containers: number;
}

export interface Reconcile {
  assign(assignment: Assignment): void;
  /** Something happened on Docker; without a project, to any. */
  wake(event?: EngineEvent): void;
  /** A pull began or ended. */
  pullsChanged(): void;
  states(): readonly ProjectState[];
  /** What is to run here, of the projects on the list; the same array until it changes. */
  desired(): readonly DesiredProject[];
  /** What would be removed, why and when, and what is only looked at. Removes nothing. */
  orphans(): readonly Orphan[];
  readonly done: Promise<void>;
}

/** Questions about single projects in one round; more wait for the next. */
const QUESTIONS = 20;

export function startReconcile(
  ports: ReconcilePorts,
  policy: ReconcilePolicy,
  signal: AbortSignal,
): Reconcile {
  const { api, node, ownNodes, assigned, looks, daemon, reports, registry, log } = ports;
  const workers = new Map<string, Worker>();
  const suspects = new Map<string, Suspect>();
  const warned = new Map<string, string>();
  let listed: ReadonlyMap<string, OnList> = new Map();
  let desired: readonly DesiredProject[] = [];
  /** Whether the server itself has said in this life what is ours. */
  let heard = false;
  /** Looks to take because something happened to a project that is not on the list. */
  let unseen = 0;

  const workerPorts: WorkerPorts = {
    looks,
    daemon,
    apply: ports.apply,
    pulls: ports.pulls,
    policy: policy.service,
    ownNodes,
    slots: createSlots(policy.parallel),
    onPlan: (project, plan) => tell(project, plan.report),
    log,
  };

  function workerOf(project: string): Worker {
    const known = workers.get(project);
    if (known !== undefined) return known;
    const worker = createWorker(project, workerPorts, signal);
    workers.set(project, worker);
    return worker;
  }

  /** Only of what is on the server's list: it does not want to hear of the others. */
  function tell(project: string, report: ProjectStatus | undefined): void {
    const on = listed.get(project);
    if (on === undefined) return;
    const place = { phase: on.assigned.phase, askedAt: on.askedAt };
    reports.want(project, dueReport(report, place, reports.delivered(project)), on.askedAt);
  }

  function assign({ projects, askedAt }: Assignment): void {
    heard ||= askedAt !== undefined;
    assigned.add(projects.map(({ name }) => name));
    const before = listed;
    listed = new Map(projects.map((one) => [one.name, onList(one, askedAt, before.get(one.name))]));
    const wanted = [...listed.values()].flatMap(({ goal }) => (goal?.do === "keep" ? [goal.desired] : []));
    if (wanted.length !== desired.length || wanted.some((one, i) => one !== desired[i])) desired = wanted;
    for (const name of before.keys()) if (!listed.has(name)) release(name);
    for (const [name, now] of listed) {
      suspects.delete(name);
      if (!before.has(name)) reports.forget(name);
      aim(name, before.get(name), now);
      const { spec } = now.assigned;
      const report = now.goal === undefined && "problem" in spec ? unreadable(spec.problem) : undefined;
      tell(name, report ?? workers.get(name)?.plan()?.report);
    }
    for (const [name, worker] of workers)
      if (worker.goal() === undefined && !worker.atWork()) workers.delete(name);
  }

  function aim(name: string, before: OnList | undefined, now: OnList): void {
    const anew = beginsAnew(before, now, reports.delivered(name));
    if (anew && before !== undefined && reports.delivered(name) !== undefined) reports.forget(name);
    if (now.text !== before?.text) warn(name, now);
    if (now.goal === undefined) workers.get(name)?.aim(undefined, "forget");
    else if (anew || workers.get(name)?.goal() !== now.goal)
      workerOf(name).aim(now.goal, anew ? "forget" : "keep");
  }

  /** It left the list: nothing more is done to it before the server has said why. */
  function release(name: string): void {
    workers.get(name)?.aim(undefined, "forget");
    reports.forget(name);
    warned.delete(name);
  }

  /** Each text once, also when the specification changes around it. */
  function warn(name: string, { goal, assigned: { spec } }: OnList): void {
    const warnings = goal?.do === "keep" ? goal.desired.warnings : "problem" in spec ? [spec.problem] : [];
    const text = warnings.join("; ");
    if (text !== "" && warned.get(name) !== text) log.warn("projects", `${name}: ${text}`);
    warned.set(name, text);
  }

  async function ask(name: string, signal: AbortSignal): Promise<Answer> {
    try {
      const place = await api.place(name, signal);
      const status = place?.status;
      if (status?.nodeRef === node) return { is: "ours", phase: status.phase };
      const seen = looks.latest()?.projects.get(name);
      if (seen !== undefined && isNothing(ownPart(seen, ownNodes)))
        return { is: "other's", node: seen.makers.values().next().value ?? "" };
      if (status !== undefined) return { is: "elsewhere", node: status.nodeRef };
      return { is: assigned.has(name) ? "gone" : "foreign" };
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      return { is: "silent" };
    }
  }

  /** Asks after what is here and on no list; see orphans.ts. */
  async function inspect(signal: AbortSignal): Promise<string> {
    if (heard && unseen > 0) {
      unseen--;
      await looks.fresh().catch((error: unknown) => daemon.lost(error));
    }
    const look = looks.latest();
    if (!heard || look === undefined) return "waits for the server and for Docker";
    for (const [name, worker] of workers) if (isOver(name, worker)) worker.aim(undefined, "forget");
    for (const name of suspects.keys()) if (!look.projects.has(name)) suspects.delete(name);
    const unlisted = [...look.projects.keys()].filter((name) => !listed.has(name));
    const due = unlisted.filter((name) => (suspects.get(name)?.askAt ?? 0) <= steadyNow());
    for (const name of due.slice(0, QUESTIONS)) {
      const answer = await ask(name, signal);
      // It may have come onto the list meanwhile; after the abort, an answer is none.
      if (signal.aborted || listed.has(name)) continue;
      const before = suspects.get(name) ?? UNKNOWN;
      const after = judge(before, answer, steadyNow(), policy.orphans);
      suspects.set(name, after);
      settle(name, before, after);
    }
    await forget(signal);
    return unlisted.length === 0 ? "" : `${unlisted.length} on no list`;
  }

  /** What is off the list and has left nothing here is not ours any more, whoever makes something of that name. */
  async function forget(signal: AbortSignal): Promise<void> {
    const isOff = (name: string): boolean => !listed.has(name) && workers.get(name)?.atWork() !== true;
    const isLeft = (name: string, look: Look | undefined): boolean => {
      const seen = look?.projects.get(name);
      return seen !== undefined && !isNothing(ownPart(seen, ownNodes));
    };
    const off = assigned.all().filter((name) => isOff(name) && !isLeft(name, looks.latest()));
    if (off.length === 0) return;
    // The latest look may be older than the last thing that was made of it.
    const look = await looks.fresh().catch((error: unknown) => daemon.lost(error));
    if (look === undefined || signal.aborted) return;
    for (const name of off) if (isOff(name) && !isLeft(name, look)) assigned.forget(name);
  }

  function settle(name: string, before: Suspect, after: Suspect): void {
    const removal = after.verdict === "remove" || after.verdict === "terminated";
    const worker = workers.get(name);
    if (after.verdict !== before.verdict && after.verdict === "orphan" && before.verdict === "suspected")
      log.warn("orphans", `${name}: ${after.reason}; what is left of it here is removed after the grace`);
    // On silence a removal under way halts: the next positive answer takes it up again.
    if (!removal) return worker?.aim(undefined, "keep");
    const what = after.verdict === "terminated" ? "all" : "own";
    if (worker?.goal() === undefined) workerOf(name).aim({ do: "remove", why: after.reason, what }, "keep");
  }

  /** A removal of something unlisted that has nothing left to remove. */
  function isOver(name: string, worker: Worker): boolean {
    return !listed.has(name) && worker.goal()?.do === "remove" && isGone(worker.plan());
  }

  function wake({ project, action }: EngineEvent = { project: "", action: "" }): void {
    // No worker looks at what is on no list. Twice: Docker may tell of it before its own list shows it.
    if (project !== "" && !listed.has(project)) unseen = 2;
    if (project !== "") workers.get(project)?.touch(/\bdie$/.test(action));
    // The stream of events has just opened: what it would have told of may not be on Docker's list yet, either.
    else for (const worker of workers.values()) worker.touch();
  }

  const wakeAll = (): void => {
    for (const worker of workers.values()) worker.wake();
  };
  signal.addEventListener("abort", wakeAll, { once: true });

  const resync = loop(
    { name: "resync", every: policy.resync, phase: "random" },
    async (signal) => {
      wakeAll();
      await daemon.ready(signal);
      if (!signal.aborted) await looks.fresh().catch((error: unknown) => daemon.lost(error));
    },
    registry,
    signal,
  );
  const orphans = loop(
    {
      name: "orphans",
      every: policy.orphans.poll,
      onError: (error) => log.error("orphans", messageOf(error)),
    },
    async (signal, record) => void (record.note = await inspect(signal)),
    registry,
    signal,
  );

  return {
    assign,
    wake,
    desired: () => desired,
    pullsChanged() {
      for (const worker of workers.values()) if ((worker.plan()?.notes.length ?? 1) > 0) worker.wake();
    },
    states: () => [
      ...[...listed].map(([name, { assigned, goal }]) => ({
        name,
        phase: assigned.phase,
        ...(goal === undefined && "problem" in assigned.spec
          ? { state: "failed" as const, note: assigned.spec.problem }
          : workers.get(name)?.standing()),
      })),
      ...[...workers]
        .filter(([name, worker]) => !listed.has(name) && worker.goal() !== undefined)
        .map(([name, worker]) => ({ name, phase: "none", ...worker.standing() })),
    ],
    orphans: () =>
      [...suspects].map(([name, { verdict, reason, due }]) => ({
        name,
        verdict,
        reason,
        due: due === undefined ? undefined : Date.now() + (due - steadyNow()),
        containers: looks.latest()?.projects.get(name)?.containers.length ?? 0,
      })),
    done: (async () => {
      await Promise.all([resync, orphans]);
      await Promise.all([...workers.values()].map((worker) => worker.settled()));
    })(),
  };
}

const unreadable = (problem: string): ProjectStatus => ({
  phase: "Failed",
  reason: "ReconcileError",
  message: problem,
});

const isGone = (plan: Plan | undefined): boolean => plan?.report?.phase === "Terminated";
