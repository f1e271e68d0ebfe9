// Sends the status of projects to the server: of each project only the newest, until it is delivered or outdated.
//
// Held in memory only. After a crash the next plan gives the same status, and the server's list shows whether it is known.
//
// A report names no node: one that waited while the server was unreachable could change a project that another node runs
// now. So a report is sent only after a recent list, requested after the last failure, showed the project as ours.
import { Notifier } from "../../lib/notifier.ts";
import { messageOf, hasCode } from "../../lib/agent-error.ts";
import { backoff } from "../../lib/backoff.ts";
import { type Duration, seconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";
import { createSlots } from "../../lib/slots.ts";
import type { CaravanseraiApi } from "../../control/caravanserai-api.ts";
import { mayPass, pauseAfter, retry } from "../../control/retry.ts";
import type { Log } from "../../platform/log.ts";
import { type SteadyTime, steadyNow } from "../../lib/clock.ts";
import type { Condition, ProjectStatus, Reason } from "../../protocol/caravanserai/resources.ts";

/** The report that the server last answered. */
export interface Delivered {
  readonly report: ProjectStatus;
  readonly at: SteadyTime;
}

/** The status of a project on the server's list. */
export interface Listed {
  readonly phase: string;
  readonly conditions: readonly Condition[];
  /** Whether the conditions are about an earlier specification. */
  readonly outdated?: boolean;
  readonly askedAt: SteadyTime | undefined;
}

/**
 * Returns the report when it differs from what the server shows, otherwise undefined. The server shows its list, or a report
 * that it accepted since the list was requested. A phase is reported again when a later list does not have it: the server
 * has lost it. Another message for the same phase is reported once, since a server may not store it. Pure.
 */
export function dueReport(
  report: ProjectStatus | undefined,
  listed: Listed,
  delivered: Delivered | undefined,
): ProjectStatus | undefined {
  if (report === undefined) return undefined;
  const accepted =
    delivered !== undefined && delivered.at >= (listed.askedAt ?? 0) ? delivered.report : undefined;
  const shown = accepted === undefined ? listed : { phase: accepted.phase, conditions: [accepted] };
  if (report.phase !== shown.phase) return report;
  if (isSame(delivered?.report, report)) return undefined;
  const isShown =
    report.reason === "ContainersRunning"
      ? !shown.conditions.some(({ reason }) => FAILURE_REASONS.has(reason))
      : listed.outdated !== true &&
        shown.conditions.some((one) => one.reason === report.reason && one.message === cut(report.message));
  return isShown ? undefined : report;
}

/** Reasons of conditions about a failure, which must be replaced when it is over. */
const FAILURE_REASONS: ReadonlySet<string> = new Set<Reason>([
  "ContainerExited",
  "ContainerCrashed",
  "ContainerMissing",
  "InspectError",
  "ReconcileError",
]);

/** Characters. Clients show the message in one line; it may quote the log of a container. */
const MESSAGE_MAX = 1_000;

/** Reports of one project: three at once, then one a second, however often a container ends. */
const BURST = 3;
const PACE: Duration = seconds(1);
/** Most reports sent at the same time. */
const PARALLEL = 4;

export interface Reports {
  /**
   * The newest report of a project; undefined takes back what is not delivered yet. `listedAt`: when the list was asked
   * for that shows it as ours, of the steady clock; undefined for a list from an earlier life.
   */
  submit(project: string, report: ProjectStatus | undefined, listedAt: SteadyTime | undefined): void;
  delivered(project: string): Delivered | undefined;
  forget(project: string): void;
  state(): { readonly waiting: number; readonly lastError: string | undefined };
  /** Resolves when nothing is being sent, after the abort. */
  settled(): Promise<void>;
}

interface ReportQueue {
  waiting: ProjectStatus | undefined;
  delivered: Delivered | undefined;
  /** When the last reports were sent, oldest first. */
  sent: number[];
  sending: Promise<void> | undefined;
  listedAt: SteadyTime;
  failedAt: SteadyTime;
  /** Ends the pause before the next try when a newer report arrives. */
  readonly hurry: Notifier;
  /** Resolved by a newer list. */
  news: PromiseWithResolvers<void>;
  /** Deleted when it no longer sends. */
  forgotten: boolean;
}

export interface ReportPorts {
  readonly api: Pick<CaravanseraiApi, "report">;
  readonly log: Log;
  /** An older list does not prove that a project is ours. */
  readonly maxAge: Duration;
  readonly random?: () => number;
}

export function createReports(
  { api, log, maxAge, random = Math.random }: ReportPorts,
  signal: AbortSignal,
): Reports {
  const queues = new Map<string, ReportQueue>();
  const slots = createSlots(PARALLEL);
  let lastError: string | undefined;
  const wakeAll = (): void => {
    for (const queue of queues.values()) queue.news.resolve();
  };
  signal.addEventListener("abort", wakeAll, { once: true });

  function queueOf(project: string): ReportQueue {
    const known = queues.get(project);
    if (known !== undefined) return known;
    const queue = {
      waiting: undefined,
      delivered: undefined,
      sent: [],
      sending: undefined,
      listedAt: -Infinity,
      failedAt: -Infinity,
      hurry: new Notifier(),
      news: Promise.withResolvers<void>(),
      forgotten: false,
    };
    queues.set(project, queue);
    return queue;
  }

  /** Sends until no report waits. One at a time for each project, so that reports stay in order. */
  async function drain(project: string, queue: ReportQueue): Promise<void> {
    try {
      for (let failures = 0; queue.waiting !== undefined && !signal.aborted;) {
        const pace = (queue.sent.at(-BURST) ?? -Infinity) + BURST * PACE - steadyNow();
        if (pace > 0) await sleep(pace, signal);
        await confirmed(queue);
        const failure = await send(project, queue);
        failures = failure === undefined ? 0 : failures + 1;
        if (failure !== undefined && !signal.aborted) await pause(queue, failure, failures);
      }
    } finally {
      // In the same turn: a later `submit` starts again.
      queue.sending = undefined;
      if (queue.forgotten && queues.get(project) === queue) queues.delete(project);
    }
  }

  /** Waits for a recent list that shows the project as ours, or until no report waits. */
  async function confirmed(queue: ReportQueue): Promise<void> {
    const isOurs = (): boolean => queue.listedAt > Math.max(queue.failedAt, steadyNow() - maxAge);
    while (queue.waiting !== undefined && !signal.aborted && !isOurs()) {
      queue.news = Promise.withResolvers();
      await queue.news.promise;
    }
  }

  /** A newer report ends the pause once, so that a failing server is not called all the time. */
  async function pause(queue: ReportQueue, failure: unknown, failures: number): Promise<void> {
    await queue.hurry.wait(pauseAfter(failure, backoff(retry.report, failures, random)), signal);
  }

  /** Resolves with the error when the report should be sent again, otherwise with undefined. */
  async function send(project: string, queue: ReportQueue): Promise<unknown> {
    const release = await slots.take(signal);
    const report = queue.waiting;
    if (release === undefined || report === undefined) {
      release?.();
      return undefined;
    }
    try {
      queue.sent = [...queue.sent, steadyNow()].slice(-BURST);
      queue.failedAt = -Infinity;
      await api.report(project, report, signal);
      lastError = undefined;
    } catch (error) {
      lastError = `${project}: ${messageOf(error)}`;
      queue.failedAt = steadyNow();
      if (mayPass(error) || hasCode(error, "aborted")) return error;
      log.warn("reports", `${project}: the server refuses ${report.phase}: ${messageOf(error)}`);
    } finally {
      release();
    }
    // A refused report counts as delivered: the same one would be refused again.
    queue.delivered = { report, at: steadyNow() };
    if (queue.waiting === report) queue.waiting = undefined;
    return undefined;
  }

  return {
    submit(project, report, listedAt = -Infinity) {
      const queue = report === undefined ? queues.get(project) : queueOf(project);
      if (queue === undefined) return;
      queue.listedAt = Math.max(queue.listedAt, listedAt);
      queue.news.resolve();
      if (isSame(queue.waiting, report)) return;
      queue.waiting = report === undefined ? undefined : { ...report, message: cut(report.message) };
      queue.forgotten = false;
      queue.hurry.notify();
      if (queue.waiting !== undefined) queue.sending ??= drain(project, queue);
    },
    delivered: (project) => queues.get(project)?.delivered,
    forget(project) {
      const queue = queues.get(project);
      if (queue === undefined) return;
      queue.waiting = undefined;
      queue.delivered = undefined;
      queue.forgotten = true;
      queue.listedAt = -Infinity;
      queue.hurry.notify();
      queue.news.resolve();
      if (queue.sending === undefined) queues.delete(project);
    },
    state: () => ({
      waiting: [...queues.values()].filter(({ waiting }) => waiting !== undefined).length,
      lastError,
    }),
    async settled() {
      await Promise.all([...queues.values()].map(({ sending }) => sending ?? Promise.resolve()));
    },
  };
}

/** `before` is already cut. */
const isSame = (before: ProjectStatus | undefined, report: ProjectStatus | undefined): boolean =>
  before === undefined || report === undefined
    ? before === report
    : before.phase === report.phase &&
      before.reason === report.reason &&
      before.message === cut(report.message);

/** At most `MESSAGE_MAX` characters; does not cut a surrogate pair. */
const cut = (text: string): string =>
  text.length <= MESSAGE_MAX ? text : `${text.slice(0, MESSAGE_MAX - 2).replace(/[\uD800-\uDBFF]$/, "")} …`;
