// What the server is told of projects: of each the newest only, until it is delivered or not true any more.
//
// Kept in memory alone. After a crash the next plan says the same again, and the server's list says whether it knows.
//
// A report carries no node: one that waited while the server was away could hit a project that another node runs by
// now. So none is sent without a list that was asked for lately, and after the last failure, and shows it as ours.
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

/** What the server answered last to a report of this project. */
export interface Delivered {
  readonly report: ProjectStatus;
  readonly at: SteadyTime;
}

/** What the server's list says of a project, and when it was asked; undefined for a list from an earlier life. */
export interface Listed {
  readonly phase: string;
  readonly conditions: readonly Condition[];
  /** The conditions are about an earlier specification. */
  readonly outdated?: boolean;
  readonly askedAt: SteadyTime | undefined;
}

/**
 * What the server should be told now, if anything: what differs from what it shows. That is its list, or what it has
 * taken since that was asked for. Another phase is told again when a later list does not know it: then the server has
 * forgotten. Other words about the same phase are told once, since a server may not keep them. Pure.
 */
export function dueReport(
  report: ProjectStatus | undefined,
  listed: Listed,
  delivered: Delivered | undefined,
): ProjectStatus | undefined {
  if (report === undefined) return undefined;
  const taken =
    delivered !== undefined && delivered.at >= (listed.askedAt ?? 0) ? delivered.report : undefined;
  const shown = taken === undefined ? listed : { phase: taken.phase, conditions: [taken] };
  if (report.phase !== shown.phase) return report;
  if (isSame(delivered?.report, report)) return undefined;
  const isShown =
    report.reason === "ContainersRunning"
      ? !shown.conditions.some(({ reason }) => TROUBLES.has(reason))
      : listed.outdated !== true &&
        shown.conditions.some((one) => one.reason === report.reason && one.message === cut(report.message));
  return isShown ? undefined : report;
}

/** What stands beside the phase of a project in trouble, and must go when it is over. */
const TROUBLES: ReadonlySet<string> = new Set<Reason>([
  "ContainerExited",
  "ContainerCrashed",
  "ContainerMissing",
  "InspectError",
  "ReconcileError",
]);

/** Clients show the message in a line; last lines of a container's log may be long. */
const MESSAGE_MAX = 1_000;

/** Reports of one project: three at once, then one a second, however fast a container dies. */
const BURST = 3;
const PACE: Duration = seconds(1);
/** Of all projects, sent at the same time. */
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

interface Lane {
  wanted: ProjectStatus | undefined;
  delivered: Delivered | undefined;
  /** When the last ones were sent, oldest first. */
  sent: number[];
  sending: Promise<void> | undefined;
  listedAt: SteadyTime;
  failedAt: SteadyTime;
  /** Ends the pause before the next try: something newer is there. */
  readonly hurry: Notifier;
  /** Resolved by a newer list. */
  news: PromiseWithResolvers<void>;
  /** Goes when it is not sending any more. */
  forgotten: boolean;
}

export interface ReportPorts {
  readonly api: Pick<CaravanseraiApi, "report">;
  readonly log: Log;
  /** A list that was asked for so long ago says nothing of now. */
  readonly maxAge: Duration;
  readonly random?: () => number;
}

export function createReports(
  { api, log, maxAge, random = Math.random }: ReportPorts,
  signal: AbortSignal,
): Reports {
  const lanes = new Map<string, Lane>();
  const slots = createSlots(PARALLEL);
  let lastError: string | undefined;
  const wakeAll = (): void => {
    for (const lane of lanes.values()) lane.news.resolve();
  };
  signal.addEventListener("abort", wakeAll, { once: true });

  function laneOf(project: string): Lane {
    const known = lanes.get(project);
    if (known !== undefined) return known;
    const lane = {
      wanted: undefined,
      delivered: undefined,
      sent: [],
      sending: undefined,
      listedAt: -Infinity,
      failedAt: -Infinity,
      hurry: new Notifier(),
      news: Promise.withResolvers<void>(),
      forgotten: false,
    };
    lanes.set(project, lane);
    return lane;
  }

  /** Sends until nothing is wanted. One a project: two reports must not overtake each other. */
  async function drain(project: string, lane: Lane): Promise<void> {
    try {
      for (let failures = 0; lane.wanted !== undefined && !signal.aborted;) {
        const pace = (lane.sent.at(-BURST) ?? -Infinity) + BURST * PACE - steadyNow();
        if (pace > 0) await sleep(pace, signal);
        await confirmed(lane);
        const failure = await send(project, lane);
        failures = failure === undefined ? 0 : failures + 1;
        if (failure !== undefined && !signal.aborted) await pause(lane, failure, failures);
      }
    } finally {
      // At once, not in a later microtask: whoever wants something from now on begins anew.
      lane.sending = undefined;
      if (lane.forgotten && lanes.get(project) === lane) lanes.delete(project);
    }
  }

  /** Waits for a list that is young enough, unless nothing is wanted any more. */
  async function confirmed(lane: Lane): Promise<void> {
    const isOurs = (): boolean => lane.listedAt > Math.max(lane.failedAt, steadyNow() - maxAge);
    while (lane.wanted !== undefined && !signal.aborted && !isOurs()) {
      lane.news = Promise.withResolvers();
      await lane.news.promise;
    }
  }

  /** A newer report cuts it short, once: it must not let a server in trouble be asked all the time. */
  async function pause(lane: Lane, failure: unknown, failures: number): Promise<void> {
    await lane.hurry.wait(pauseAfter(failure, backoff(retry.report, failures, random)), signal);
  }

  /** Returns the error when it is worth another try. */
  async function send(project: string, lane: Lane): Promise<unknown> {
    const release = await slots.take(signal);
    const report = lane.wanted;
    if (release === undefined || report === undefined) {
      release?.();
      return undefined;
    }
    try {
      lane.sent = [...lane.sent, steadyNow()].slice(-BURST);
      lane.failedAt = -Infinity;
      await api.report(project, report, signal);
      lastError = undefined;
    } catch (error) {
      lastError = `${project}: ${messageOf(error)}`;
      lane.failedAt = steadyNow();
      if (mayPass(error) || hasCode(error, "aborted")) return error;
      log.warn("reports", `${project}: the server does not take ${report.phase}: ${messageOf(error)}`);
    } finally {
      release();
    }
    // Refused counts as known too: the same again would be refused again.
    lane.delivered = { report, at: steadyNow() };
    if (lane.wanted === report) lane.wanted = undefined;
    return undefined;
  }

  return {
    submit(project, report, listedAt = -Infinity) {
      const lane = report === undefined ? lanes.get(project) : laneOf(project);
      if (lane === undefined) return;
      lane.listedAt = Math.max(lane.listedAt, listedAt);
      lane.news.resolve();
      if (isSame(lane.wanted, report)) return;
      lane.wanted = report === undefined ? undefined : { ...report, message: cut(report.message) };
      lane.forgotten = false;
      lane.hurry.notify();
      if (lane.wanted !== undefined) lane.sending ??= drain(project, lane);
    },
    delivered: (project) => lanes.get(project)?.delivered,
    forget(project) {
      const lane = lanes.get(project);
      if (lane === undefined) return;
      lane.wanted = undefined;
      lane.delivered = undefined;
      lane.forgotten = true;
      lane.listedAt = -Infinity;
      lane.hurry.notify();
      lane.news.resolve();
      if (lane.sending === undefined) lanes.delete(project);
    },
    state: () => ({
      waiting: [...lanes.values()].filter(({ wanted }) => wanted !== undefined).length,
      lastError,
    }),
    async settled() {
      await Promise.all([...lanes.values()].map(({ sending }) => sending ?? Promise.resolve()));
    },
  };
}

/** `kept`: cut already. */
const isSame = (kept: ProjectStatus | undefined, report: ProjectStatus | undefined): boolean =>
  kept === undefined || report === undefined
    ? kept === report
    : kept.phase === report.phase && kept.reason === report.reason && kept.message === cut(report.message);

/** Whole characters only. */
const cut = (text: string): string =>
  text.length <= MESSAGE_MAX ? text : `${text.slice(0, MESSAGE_MAX - 2).replace(/[\uD800-\uDBFF]$/, "")} …`;
