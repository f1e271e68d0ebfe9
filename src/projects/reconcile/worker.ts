// Works on one project in a loop: takes a snapshot, plans, carries out, until there are no steps; then waits for a reason to
// plan again.
//
//   woken ─▶ snapshot ─▶ plan ─▶ no steps: rest until `planAgainAt` or a reason
//                ▲        └──▶ a slot ─▶ steps, services in parallel ─▶ history ─┐
//                └───────────────────────────────────────────────────────────────┘
import { AgentError, messageOf } from "../../lib/agent-error.ts";
import { type Duration, milliseconds, seconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";
import { type Slots, createSlots } from "../../lib/slots.ts";
import type { Log } from "../../platform/log.ts";
import { type SteadyTime, steadyNow } from "../../lib/clock.ts";
import type { Snapshot } from "../plan/engine.ts";
import { NO_HISTORY, type Outcome, type ProjectHistory, remember, settled } from "../plan/history.ts";
import type { PullState } from "../plan/images.ts";
import type { ServicePolicy } from "../plan/service.ts";
import { type Plan, planProject, planTeardown } from "../plan/project.ts";
import { type Daemon, isUnreachable } from "./daemon.ts";
import type { Snapshots } from "./snapshots.ts";
import { removable } from "../plan/ownership.ts";
import { observedIn } from "../plan/observed.ts";
import { type Step, subjectOf } from "../plan/step.ts";
import { type Goal, type WorkerStatus, lineOf, statusOf } from "./worker-state.ts";

export interface WorkerPorts {
  readonly snapshots: Snapshots;
  readonly daemon: Pick<Daemon, "ready" | "lost">;
  /** Carries out one step; throws as the engine does. */
  readonly apply: (step: Step, project: string, signal: AbortSignal) => Promise<void>;
  readonly pulls: () => ReadonlyMap<string, PullState>;
  readonly policy: ServicePolicy;
  /** Limits how many projects are changed at the same time. */
  readonly slots: Slots;
  /** Called with every plan. */
  readonly onPlan: (project: string, plan: Plan) => void;
  readonly log: Log;
  /** Default: the steady clock. */
  readonly now?: () => SteadyTime;
}

export interface Worker {
  /** Undefined: stop after the step that is running. `history`: whether earlier restarts and failures still count. */
  setGoal(goal: Goal | undefined, history: "keep" | "forget"): void;
  goal(): Goal | undefined;
  /** There is a reason to plan again; after the abort, to end. */
  wake(): void;
  /** An event reported a change of the project; `ended`: the end of a container. */
  touch(ended?: boolean): void;
  /** Its status by the latest snapshot; undefined before the first. */
  status(): WorkerStatus | undefined;
  plan(): Plan | undefined;
  /** False when it has no goal and has ended. */
  isWorking(): boolean;
  /** Resolves when it has ended; to be called only after the abort or `setGoal(undefined)`. */
  settled(): Promise<void>;
}

/** Services of one project that are changed at the same time. */
const SERVICES = 8;
/** After a longer wait for a slot plan from a new snapshot: a container may have crashed since. */
const STALE: Duration = seconds(1);
/** Rounds with steps in a row, after which the worker slows down; a large project comes up in far fewer. */
const RESTLESS = 40;
/**
 * Docker reports an end before its list shows it (measured: the die event, the event of the network, and still "running"),
 * and no further event follows. So a snapshot is also taken so long after an event; a dozen crashing containers on two
 * cores delay the list by seconds.
 */
const SNAPSHOTS_AFTER_EVENT: readonly Duration[] = [
  milliseconds(150),
  milliseconds(600),
  seconds(2),
  seconds(6),
  seconds(15),
];
/** Shortest rest, so that a plan that is due at once does not spin. */
const REST_MIN: Duration = milliseconds(50);

/** Creates the worker of one project. It runs while there is something to do, until `signal` aborts. */
export function createWorker(project: string, ports: WorkerPorts, signal: AbortSignal): Worker {
  const { snapshots, daemon, slots, log, now = steadyNow } = ports;
  let goal: Goal | undefined;
  let history: ProjectHistory = NO_HISTORY;
  let plan: Plan | undefined;
  let logged: WorkerStatus | undefined;
  let running: Promise<void> | undefined;
  let woken = Promise.withResolvers<void>();
  let rounds = 0;
  let lastEventAt = -Infinity;
  let endedAt: SteadyTime | undefined;
  let plannedFrom = -Infinity;

  function planFrom(snapshot: Snapshot, goal: Goal): Plan {
    const seen = observedIn(snapshot, project, goal.do === "keep" ? goal.desired : undefined);
    const situation = {
      observed:
        goal.do === "remove" && goal.what === "removable"
          ? removable(seen, snapshot.unowned.get(project))
          : seen,
      history,
      images: { present: snapshot.images, pulls: ports.pulls() },
      policy: ports.policy,
      endedAt,
      lastEventAt,
      now: now(),
    };
    return goal.do === "keep" ? planProject(goal.desired, situation) : planTeardown(situation);
  }

  /** Plans from a snapshot, logs and passes on the plan; undefined when there is no goal. */
  function planNow(snapshot: Snapshot): Plan | undefined {
    plannedFrom = snapshot.at;
    if (goal === undefined) return undefined;
    plan = planFrom(snapshot, goal);
    if (plan.report?.phase === "Running") history = settled(history);
    const status = statusOf(goal, plan);
    const line = lineOf(logged, status);
    if (line !== undefined) log[line.level]("projects", `${project}: ${line.text}`);
    if (line !== undefined || logged?.state !== status.state) logged = status;
    ports.onPlan(project, plan);
    return plan;
  }

  async function work(): Promise<void> {
    try {
      for (;;) {
        if (goal === undefined || signal.aborted) return;
        woken = Promise.withResolvers();
        const until = await round().catch(recover);
        if (until === "now") continue;
        rounds = 0;
        await rest(until);
      }
    } finally {
      running = undefined; // In the same turn: a later `setGoal` starts a new loop.
    }
  }

  /** Resolves with when to plan again although nothing happens; undefined for never. */
  async function round(): Promise<number | undefined | "now"> {
    await daemon.ready(signal);
    if (goal === undefined || signal.aborted) return "now";
    let next = planNow(await snapshots.fresh());
    if (next === undefined) return "now";
    if (next.steps.length === 0) return next.planAgainAt;
    const [asked, before] = [steadyNow(), goal];
    const release = await slots.take(signal);
    if (release === undefined) return "now";
    try {
      if (steadyNow() - asked > STALE || goal !== before) next = planNow(await snapshots.fresh());
      await applyAll(next?.steps ?? []);
    } finally {
      release();
    }
    await slowDown();
    return "now";
  }

  /** Slows down when steps change nothing, or are undone by something else. */
  async function slowDown(): Promise<void> {
    if (++rounds < RESTLESS) return;
    if (rounds === RESTLESS) log.warn("projects", `${project}: does not settle, continues slowly`);
    await sleep(Math.min(seconds(30), seconds(rounds - RESTLESS + 1)), signal);
  }

  async function recover(error: unknown): Promise<number | "now"> {
    if (signal.aborted) return "now";
    if (error instanceof AgentError) daemon.lost(error);
    else log.error("projects", `${project}: ${messageOf(error)}`);
    // While Docker is unreachable, `ready` waits in the next round; the long pause is for errors of the agent itself.
    await sleep(isUnreachable(error) ? REST_MIN : seconds(2), signal);
    return "now";
  }

  /** Carries out the steps of one service in order, different services in parallel. Throws when Docker is unreachable. */
  async function applyAll(steps: readonly Step[]): Promise<void> {
    const queues = Map.groupBy(steps, subjectOf);
    const bound = createSlots(SERVICES);
    const ends = await Promise.allSettled(
      [...queues.values()].map(async (queue) => {
        const release = await bound.take(signal);
        try {
          for (const step of queue) if (!(await applyOne(step))) return;
        } finally {
          release?.();
        }
      }),
    );
    for (const end of ends) if (end.status === "rejected") throw end.reason;
  }

  /** Resolves with false when Docker refused the step: later steps of the service wait for the next plan. */
  async function applyOne(step: Step): Promise<boolean> {
    signal.throwIfAborted();
    const outcome = await ports.apply(step, project, signal).then(
      (): Outcome => ({ is: "done" }),
      (error: unknown): Outcome => {
        // Says nothing about the step: we aborted it, or Docker became unreachable.
        if (signal.aborted || isUnreachable(error)) throw error;
        return { is: "refused", message: messageOf(error) };
      },
    );
    history = remember(history, step, outcome, now());
    return outcome.is === "done";
  }

  async function rest(until: SteadyTime | undefined): Promise<void> {
    if (goal === undefined || signal.aborted) return;
    const recheck = SNAPSHOTS_AFTER_EVENT.map((after) => lastEventAt + after).find((at) => at > plannedFrom);
    const end = Math.min(until ?? Infinity, recheck ?? Infinity);
    if (end === Infinity) return woken.promise;
    const ended = new AbortController();
    const pause = Math.max(REST_MIN, end - now());
    await Promise.race([woken.promise, sleep(pause, signal, ended.signal)]);
    ended.abort();
  }

  const wake = (): void => woken.resolve();

  return {
    setGoal(next, change) {
      if (change === "forget") history = NO_HISTORY;
      if (goal?.do !== next?.do || change === "forget") logged = undefined;
      if (goal !== next || change === "forget") {
        plan = undefined;
        rounds = 0;
      }
      goal = next;
      wake();
      if (goal !== undefined && !signal.aborted) running ??= work();
    },
    goal: () => goal,
    wake,
    touch(ended = false) {
      lastEventAt = now();
      if (ended) endedAt = lastEventAt;
      wake();
    },
    status() {
      const snapshot = snapshots.latest();
      if (goal === undefined || plan === undefined || snapshot === undefined) return undefined;
      return statusOf(goal, planFrom(snapshot, goal));
    },
    plan: () => plan,
    isWorking: () => running !== undefined,
    settled: () => running ?? Promise.resolve(),
  };
}
