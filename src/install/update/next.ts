// Decides the next act of the watcher, from the recorded phase and what is seen on the machine. Pure.
//
// Every act can be repeated: after a kill or a loss of power the machine is looked at again, and the same rules apply.
import type { SteadyTime } from "../../lib/clock.ts";
import { type Duration, minutes, seconds } from "../../lib/duration.ts";
import type { UpdateOutcome, UpdatePhase } from "./state.ts";

/** Which executable: the one of the update, the one of before, another, or none. */
export type Which = "new" | "old" | "other" | "none";

export interface Seen {
  /** What has the name of the program. */
  readonly program: Which;
  /** Whether the downloaded executable is still there and whole. */
  readonly candidate: boolean;
  /** Whether the executable of before is there and whole. */
  readonly kept: boolean;
  readonly service: {
    /** systemd's ActiveState. */
    readonly active: string;
    /** What its main process runs. */
    readonly runs: Which;
    /** How often systemd started it again. */
    readonly restarts: number;
    /** Its last end, in words. */
    readonly end: string;
  };
  /** What the agent answered on its control socket; undefined when it did not. */
  readonly answer:
    | {
        readonly version: string;
        readonly pid: number;
        /** What is missing until it counts as healthy: a control plane that has not heard of it. */
        readonly missing: string | undefined;
      }
    | undefined;
}

/** What the watcher remembers of its watch. It is not stored: another watcher begins a watch of its own. */
export interface WatchMemory {
  /** When the service was restarted, or when this watcher began to look at one that runs already. */
  readonly began: SteadyTime;
  /** Whether this watcher has restarted the service in this phase. */
  readonly restarted: boolean;
  /** The last answer of the agent. */
  readonly answered: SteadyTime | undefined;
  /** Since when the same process of the new version has answered. */
  readonly stable: { readonly pid: number; readonly since: SteadyTime } | undefined;
  /** `restarts` at the last look. */
  readonly restarts: number;
  /** When it was started again by systemd. */
  readonly crashes: readonly SteadyTime[];
}

export type Act =
  | { readonly do: "switch" }
  | { readonly do: "restore" }
  /** `hard`: what runs does not answer, and is killed. */
  | { readonly do: "restart"; readonly hard: boolean }
  | { readonly do: "record"; readonly phase: UpdatePhase; readonly reason?: string }
  | { readonly do: "wait"; readonly note: string }
  | { readonly do: "finish"; readonly outcome: UpdateOutcome; readonly reason: string };

/** The same process has to answer for so long, online at the end, to be confirmed. */
export const STABLE_FOR: Duration = seconds(30);
/** One that says nothing for so long is rolled back: a start takes less than a second, on a busy machine some. */
export const SILENT_FOR: Duration = seconds(60);
/** Two crashes within this time. */
export const CRASHES_WITHIN: Duration = seconds(60);
const CRASHES_MAX = 2;
/** The control plane gives up on a node that does not come back for so long; nothing more can be learnt by waiting. */
export const PROVEN_WITHIN: Duration = minutes(5);

export const beginWatch = (now: SteadyTime, restarts: number, restarted: boolean): WatchMemory => ({
  began: now,
  restarted,
  answered: undefined,
  stable: undefined,
  restarts,
  crashes: [],
});

/** Returns the memory of a watch after another look. */
export function observeUpdate(
  watch: WatchMemory,
  { service, answer }: Seen,
  to: string,
  now: SteadyTime,
): WatchMemory {
  // systemd counts from 0 again when a person restarts it, which is no crash.
  const more = Math.max(0, service.restarts - watch.restarts);
  const isNew = answer !== undefined && answer.version === to;
  const isSame = isNew && watch.stable?.pid === answer.pid && more === 0;
  if (isStopped({ service }))
    return { ...watch, began: now, answered: undefined, stable: undefined, restarts: service.restarts };
  return {
    ...watch,
    answered: isNew ? now : watch.answered,
    stable: !isNew ? watch.stable : isSame ? watch.stable : { pid: answer.pid, since: now },
    restarts: service.restarts,
    crashes: [...watch.crashes, ...Array.from({ length: more }, () => now)].filter(
      (at) => now - at <= CRASHES_WITHIN,
    ),
  };
}

/**
 * Somebody has stopped it, or the machine has just booted: that is not ours to change, and says nothing of the new
 * version.
 */
const isStopped = ({ service }: Pick<Seen, "service">): boolean => service.active === "inactive";

const stopped: Act = { do: "wait", note: "the service is stopped: the update goes on when it is started" };

type Rule = (seen: Seen, watch: WatchMemory, now: SteadyTime) => Act;

const rules: Readonly<Record<UpdatePhase, Rule>> = {
  // A watcher is started after it only.
  preparing: () => ({ do: "finish", outcome: "failed", reason: "the update was interrupted before its end" }),
  ready: fromReady,
  switched: fromSwitched,
  watching: judge,
  "rolling back": back,
  over: () => ({ do: "wait", note: "" }),
};

/** Returns the next act. `watch` is of after `observeUpdate`. */
export const nextAct = (phase: UpdatePhase, seen: Seen, watch: WatchMemory, now: SteadyTime): Act =>
  rules[phase](seen, watch, now);

function fromReady({ program, candidate, kept }: Seen): Act {
  if (program === "new") return { do: "record", phase: "switched" };
  if (program === "other") return superseded;
  if (!candidate || !kept)
    return {
      do: "finish",
      outcome: "failed",
      reason: "the files of the update are gone: nothing was changed",
    };
  return { do: "switch" };
}

const superseded: Act = {
  do: "finish",
  outcome: "superseded",
  reason: "another executable was installed meanwhile",
};

function fromSwitched(seen: Seen, { restarted }: WatchMemory): Act {
  if (seen.program === "other") return superseded;
  if (seen.program !== "new")
    return { do: "record", phase: "rolling back", reason: "the new executable is gone" };
  if (restarted || seen.service.runs === "new") return { do: "record", phase: "watching" };
  return isStopped(seen) ? stopped : { do: "restart", hard: false };
}

/** Judges the new version. Nothing that lies outside of this machine speaks against it. */
function judge(seen: Seen, watch: WatchMemory, now: SteadyTime): Act {
  const { program, service, answer } = seen;
  if (program === "other" || program === "old") return superseded;
  if (isStopped(seen)) return stopped;
  const bad = (reason: string): Act => ({ do: "record", phase: "rolling back", reason });
  if (program === "none") return bad("the new executable is gone");
  if (service.active === "failed") return bad(`the new version does not start: ${service.end}`);
  if (watch.crashes.length >= CRASHES_MAX)
    return bad(`the new version ended ${watch.crashes.length} times within a minute: ${service.end}`);
  if (now - (watch.answered ?? watch.began) >= SILENT_FOR)
    return bad(`the new version did not answer for ${SILENT_FOR / 1_000} s`);
  const stableFor = watch.stable === undefined || answer === undefined ? 0 : now - watch.stable.since;
  if (answer === undefined) return { do: "wait", note: "waiting for the new version to answer" };
  if (stableFor >= STABLE_FOR && answer.missing === undefined)
    return { do: "finish", outcome: "confirmed", reason: "" };
  if (now - watch.began >= PROVEN_WITHIN && stableFor >= STABLE_FOR)
    return {
      do: "finish",
      outcome: "unproven",
      reason: `it runs, but ${answer.missing ?? "it was restarted all the time"}`,
    };
  return { do: "wait", note: answer.missing ?? "the new version is online, and watched" };
}

/** How long to wait for the old version to answer again: it is known to work, and more cannot be done for it. */
export const BACK_WITHIN: Duration = minutes(2);

function back(seen: Seen, watch: WatchMemory, now: SteadyTime): Act {
  const { program, kept, service, answer } = seen;
  const done = (reason: string): Act => ({ do: "finish", outcome: "rolled back", reason });
  if (program === "other") return superseded;
  if (program !== "old")
    return kept
      ? { do: "restore" }
      : {
          do: "finish",
          outcome: "unproven",
          reason: "the executable of before is gone: it cannot be rolled back",
        };
  if (isStopped(seen)) return done("");
  if (service.runs === "old" && answer !== undefined) return done("");
  if (!watch.restarted && service.runs !== "old") return { do: "restart", hard: true };
  if (now - watch.began >= BACK_WITHIN) return done("the version of before does not answer either");
  return { do: "wait", note: "waiting for the version of before" };
}
