// Decides what an assignment changes for one project: its goal, and whether earlier restarts and failures still count. Pure.
import type { SteadyTime } from "../../lib/clock.ts";
import type { Assigned } from "../node/assignment.ts";
import { desire } from "../plan/desired.ts";
import { type OwnerPolicy, applyOwnerPolicy } from "../plan/owner.ts";
import type { Delivered } from "../node/reports.ts";
import type { Goal } from "./worker-state.ts";

/** A project as the server's list has it. */
export interface OnList {
  readonly assigned: Assigned;
  /** The part from which the goal is made, as text to compare. */
  readonly text: string;
  /** Undefined when its specification cannot be read: its containers are left as they are. */
  readonly goal: Goal | undefined;
  /** The conditions on the server when its specification changed: they are not about the new one. */
  readonly outdated: string;
  /** When the server was asked for the list, of the steady clock; undefined for a list from an earlier life. */
  readonly askedAt: SteadyTime | undefined;
}

/** `before`: the same project of the previous list; undefined when it was not on it. */
export function onList(
  assigned: Assigned,
  askedAt: SteadyTime | undefined,
  before: OnList | undefined,
  owner: OwnerPolicy,
): OnList {
  const { phase, spec, conditions } = assigned;
  const entry = (text: string, goal: Goal | undefined): OnList => {
    const isChanged = before !== undefined && before.text !== text;
    const outdated = isChanged ? JSON.stringify(conditions) : (before?.outdated ?? "");
    return { assigned, text, goal, outdated, askedAt };
  };
  if (phase === "Terminating") {
    const same = before?.text === phase;
    const goal: Goal =
      same && before.goal !== undefined ? before.goal : { do: "remove", why: "terminated", what: "all" };
    return entry(phase, goal);
  }
  const text = JSON.stringify("project" in spec ? spec.project.spec : spec.problem);
  if (before?.text === text) return entry(text, before.goal);
  const goal: Goal | undefined =
    "project" in spec ? { do: "keep", desired: applyOwnerPolicy(desire(spec.project), owner) } : undefined;
  return entry(text, goal);
}

/**
 * Whether earlier restarts and failures no longer count: it was not on the previous list, its specification changed, or the
 * server scheduled it again after it had been running or had failed.
 */
export function startsOver(
  before: OnList | undefined,
  now: OnList,
  delivered: Delivered | undefined,
): boolean {
  if (before === undefined || before.text !== now.text) return true;
  const { phase } = now.assigned;
  if (phase === "Scheduled" && ["Running", "Failed"].includes(before.assigned.phase)) return true;
  return phase !== "Failed" && delivered?.report.phase === "Failed" && delivered.at < (now.askedAt ?? 0);
}
