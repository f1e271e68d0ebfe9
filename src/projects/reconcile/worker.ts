// One project, worked on by one loop: snapshot, plan, carry out, and again until there is nothing to do; then wait for a
// reason to look again.
//
//   woken ─▶ snapshot ─▶ plan ─▶ no steps: rest until `planAgainAt` or a reason
//              ▲       └──▶ a slot ─▶ steps, services side by side ─▶ history ─┐
//              └───────────────────────────────────────────────────────────────┘
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
  /** Bounds how many projects are worked on at the same time. */
  readonly slots: Slots;
  /** Told of every plan. */
  readonly onPlan: (project: string, plan: Plan) => void;
  readonly log: Log;
  /** The steady clock, outside tests. */
  readonly now?: () => SteadyTime;
}

export interface Worker {
  /** Undefined: nothing is to be done any more; a step that is under way is ended first. */
  setGoal(goal: Goal | undefined, history: "keep" | "forget"): void;
  goal(): Goal | undefined;
  /** There is a reason to snapshot; after the abort, the reason to end. */
  wake(): void;
  /** Docker told of something that happened to it; `ended`: of the end of a container. */
  touch(ended?: boolean): void;
  /** How it stands now, from the newest snapshot; undefined before the first. */
  status(): WorkerStatus | undefined;
  plan(): Plan | undefined;
  /** False when it has ended for want of a goal. */
  atWork(): boolean;
  /** Resolves when it does nothing any more; only after the abort or `aim(undefined)`. */
  settled(): Promise<void>;
}

/** Services of one project that are worked on side by side. */
const SERVICES = 8;
/** Whoever waited so long for a slot looks again: a container may have crashed since. */
const STALE: Duration = seconds(1);
/** Rounds in a row that each had something to do; a large project comes up in far fewer. */
const RESTLESS = 40;
/**
 * Docker tells of an end before its own list shows it (measured: the die event, the network's, and still "running"), and
 * nothing more follows. So there are snapshots so long after an event, too; a dozen crashing containers on two cores make the
 * list late by seconds.
 */
const ECHOES: readonly Duration[] = [
  milliseconds(150),
  milliseconds(600),
  seconds(2),
  seconds(6),
  seconds(15),
];
/** A plan that wants to be looked at again at once must not spin. */
const REST_MIN: Duration = milliseconds(50);

export function createWorker(project: string, ports: WorkerPorts, signal: AbortSignal): Worker {
  const { snapshots, daemon, slots, log, now = steadyNow } = ports;
  let goal: Goal | undefined;
  let history: ProjectHistory = NO_HISTORY;
  let plan: Plan | undefined;
  let told: WorkerStatus | undefined;
  let running: Promise<void> | undefined;
  let woken = Promise.withResolvers<void>();
  let rounds = 0;
  let touchedAt = -Infinity;
  let endedAt: SteadyTime | undefined;
  let lookedAt = -Infinity;

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
      lastEventAt: touchedAt,
      now: now(),
    };
    return goal.do === "keep" ? planProject(goal.desired, situation) : planTeardown(situation);
  }

  /** Plans, and tells of it; undefined when there is no goal any more. */
  function think(snapshot: Snapshot): Plan | undefined {
    lookedAt = snapshot.at;
    if (goal === undefined) return undefined;
    plan = planFrom(snapshot, goal);
    if (plan.report?.phase === "Running") history = settled(history);
    const status = statusOf(goal, plan);
    const line = lineOf(told, status);
    if (line !== undefined) log[line.level]("projects", `${project}: ${line.text}`);
    if (line !== undefined || told?.state !== status.state) told = status;
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
      running = undefined; // In the same turn: an `aim` from now on begins anew.
    }
  }

  /** Returns when to look again although nothing happens; undefined for never. */
  async function round(): Promise<number | undefined | "now"> {
    await daemon.ready(signal);
    if (goal === undefined || signal.aborted) return "now";
    let next = think(await snapshots.fresh());
    if (next === undefined) return "now";
    if (next.steps.length === 0) return next.planAgainAt;
    const [asked, before] = [steadyNow(), goal];
    const release = await slots.take(signal);
    if (release === undefined) return "now";
    try {
      if (steadyNow() - asked > STALE || goal !== before) next = think(await snapshots.fresh());
      await applyAll(next?.steps ?? []);
    } finally {
      release();
    }
    await calmDown();
    return "now";
  }

  /** Steps that change nothing, or that something undoes: slower and slower, instead of a storm. */
  async function calmDown(): Promise<void> {
    if (++rounds < RESTLESS) return;
    if (rounds === RESTLESS) log.warn("projects", `${project}: does not settle, going on slowly`);
    await sleep(Math.min(seconds(30), seconds(rounds - RESTLESS + 1)), signal);
  }

  async function recover(error: unknown): Promise<number | "now"> {
    if (signal.aborted) return "now";
    if (error instanceof AgentError) daemon.lost(error);
    else log.error("projects", `${project}: ${messageOf(error)}`);
    // `ready` holds it up next time; this is for what is wrong with the agent itself.
    await sleep(isUnreachable(error) ? REST_MIN : seconds(2), signal);
    return "now";
  }

  /** Those of one service in their order, different services side by side. Throws when Docker went away. */
  async function applyAll(steps: readonly Step[]): Promise<void> {
    const lanes = Map.groupBy(steps, subjectOf);
    const bound = createSlots(SERVICES);
    const ends = await Promise.allSettled(
      [...lanes.values()].map(async (lane) => {
        const release = await bound.take(signal);
        try {
          for (const step of lane) if (!(await applyOne(step))) return;
        } finally {
          release?.();
        }
      }),
    );
    for (const end of ends) if (end.status === "rejected") throw end.reason;
  }

  /** False when Docker refused it: what follows on it waits for the next plan. */
  async function applyOne(step: Step): Promise<boolean> {
    signal.throwIfAborted();
    const outcome = await ports.apply(step, project, signal).then(
      (): Outcome => ({ is: "done" }),
      (error: unknown): Outcome => {
        // No word about the step: cut short by ourselves, or by a Docker that went away.
        if (signal.aborted || isUnreachable(error)) throw error;
        return { is: "refused", message: messageOf(error) };
      },
    );
    history = remember(history, step, outcome, now());
    return outcome.is === "done";
  }

  async function rest(until: SteadyTime | undefined): Promise<void> {
    if (goal === undefined || signal.aborted) return;
    const echo = ECHOES.map((after) => touchedAt + after).find((at) => at > lookedAt);
    const end = Math.min(until ?? Infinity, echo ?? Infinity);
    if (end === Infinity) return woken.promise;
    const enough = new AbortController();
    const pause = Math.max(REST_MIN, end - now());
    await Promise.race([woken.promise, sleep(pause, signal, enough.signal)]);
    enough.abort();
  }

  const wake = (): void => woken.resolve();

  return {
    setGoal(next, keep) {
      if (keep === "forget") history = NO_HISTORY;
      if (goal?.do !== next?.do || keep === "forget") told = undefined;
      if (goal !== next || keep === "forget") {
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
      touchedAt = now();
      if (ended) endedAt = touchedAt;
      wake();
    },
    status() {
      const snapshot = snapshots.latest();
      if (goal === undefined || plan === undefined || snapshot === undefined) return undefined;
      return statusOf(goal, planFrom(snapshot, goal));
    },
    plan: () => plan,
    atWork: () => running !== undefined,
    settled: () => running ?? Promise.resolve(),
  };
}
