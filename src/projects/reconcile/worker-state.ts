// The status of a project for people, and when a change of it is logged. Pure.
import type { DesiredProject } from "../plan/desired.ts";
import type { Plan } from "../plan/project.ts";

/** What a worker works towards. */
export type Goal =
  | { readonly do: "keep"; readonly desired: DesiredProject }
  /** `why`: for people. `what`: all of it, or what `removable` of ownership.ts leaves. */
  | { readonly do: "remove"; readonly why: string; readonly what: "all" | "removable" };

export interface WorkerStatus {
  readonly state: "running" | "working" | "waiting" | "failed" | "removing" | "removed";
  readonly note: string;
}

export function statusOf(goal: Goal, plan: Plan): WorkerStatus {
  const note = plan.notes.join("; ");
  if (goal.do === "remove") {
    if (plan.report?.phase === "Terminated") return { state: "removed", note: goal.why };
    return { state: "removing", note: note === "" ? goal.why : note };
  }
  if (plan.report?.phase === "Running") return { state: "running", note };
  if (plan.report?.phase === "Failed") return { state: "failed", note: plan.report.message };
  // No steps and no note: its containers have just been started.
  return plan.steps.length > 0 || note === "" ? { state: "working", note } : { state: "waiting", note };
}

export interface LogLine {
  readonly level: "info" | "warn";
  readonly text: string;
}

/** The log line for a change; undefined for a change that is not logged. `before`: the status that was logged last. */
export function lineOf(before: WorkerStatus | undefined, after: WorkerStatus): LogLine | undefined {
  if (after.state === "working")
    return before === undefined ? { level: "info", text: "coming up" } : undefined;
  if (before?.state === after.state && withoutNumbers(before.note) === withoutNumbers(after.note))
    return undefined;
  const { text, level = "info" } = LOG_TEXTS[after.state];
  // The note says why it does not run; that of a running or removed project is not logged.
  const detail =
    after.state === "running" || after.state === "removed" || after.note === "" ? "" : `: ${after.note}`;
  return before?.state === "running" && after.state === "running"
    ? undefined
    : { level, text: text + detail };
}

const LOG_TEXTS: Record<
  Exclude<WorkerStatus["state"], "working">,
  { text: string; level?: LogLine["level"] }
> = {
  running: { text: "running" },
  failed: { text: "failed", level: "warn" },
  waiting: { text: "waiting" },
  removing: { text: "being removed" },
  removed: { text: "removed" },
};

/** The progress of a pull does not count as a change. */
const withoutNumbers = (text: string): string => text.replaceAll(/[\d.]+/g, "0");
