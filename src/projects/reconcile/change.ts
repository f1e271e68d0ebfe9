// What an assignment changes for one project: what is to be done now, and whether what was tried before still counts. Pure.
import type { SteadyTime } from "../../lib/clock.ts";
import type { Assigned } from "../node/assignment.ts";
import { desire } from "../plan/desired.ts";
import type { Delivered } from "../node/reports.ts";
import type { Goal } from "./worker-state.ts";

/** A project as it stands on the server's list. */
export interface OnList {
  readonly assigned: Assigned;
  /** The part of it that the goal is made from, to notice a change by. */
  readonly text: string;
  /** Undefined for one whose specification cannot be read: nothing is done to its containers. */
  readonly goal: Goal | undefined;
  /** The conditions that stood on the server when its specification changed: they say nothing of the new one. */
  readonly outdated: string;
  /** When the server was asked for the list, of the steady clock; undefined for a list from an earlier life. */
  readonly askedAt: SteadyTime | undefined;
}

/** `before`: how it stood on the list before this one; undefined when it did not. */
export function onList(
  assigned: Assigned,
  askedAt: SteadyTime | undefined,
  before: OnList | undefined,
): OnList {
  const { phase, spec, conditions } = assigned;
  const keep = (text: string, goal: Goal | undefined): OnList => {
    const isChanged = before !== undefined && before.text !== text;
    const outdated = isChanged ? JSON.stringify(conditions) : (before?.outdated ?? "");
    return { assigned, text, goal, outdated, askedAt };
  };
  if (phase === "Terminating") {
    const same = before?.text === phase;
    const goal: Goal =
      same && before.goal !== undefined ? before.goal : { do: "remove", why: "terminated", what: "all" };
    return keep(phase, goal);
  }
  const text = JSON.stringify("project" in spec ? spec.project.spec : spec.problem);
  if (before?.text === text) return keep(text, before.goal);
  const goal: Goal | undefined =
    "project" in spec ? { do: "keep", desired: desire(spec.project) } : undefined;
  return keep(text, goal);
}

/**
 * Whether its restarts and failures begin anew: it was away from the list, its specification is another one, or the
 * server has scheduled it again after it had been running or had failed.
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
