// How a project stands, in words for a person, and when that is worth a line in the log. Pure.
import type { DesiredProject } from "../plan/desired.ts";
import type { Plan } from "../plan/project.ts";

/** What a worker is to bring about. */
export type Goal =
  | { readonly do: "keep"; readonly desired: DesiredProject }
  /** `why`: for people. `what`: see `removable` in ownership.ts. */
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
  // Nothing to do, to say or to wait for: its containers have just been started.
  return plan.steps.length > 0 || note === "" ? { state: "working", note } : { state: "waiting", note };
}

export interface LogLine {
  readonly level: "info" | "warn";
  readonly text: string;
}

/** The line that tells of a change; undefined when nothing worth one changed. `before`: what was told last. */
export function lineOf(before: WorkerStatus | undefined, after: WorkerStatus): LogLine | undefined {
  if (after.state === "working")
    return before === undefined ? { level: "info", text: "coming up" } : undefined;
  if (before?.state === after.state && withoutNumbers(before.note) === withoutNumbers(after.note))
    return undefined;
  const { text, level = "info" } = WORDS[after.state];
  // What keeps it from running is worth its words; that of a running one is nobody's business.
  const detail =
    after.state === "running" || after.state === "removed" || after.note === "" ? "" : `: ${after.note}`;
  return before?.state === "running" && after.state === "running"
    ? undefined
    : { level, text: text + detail };
}

const WORDS: Record<Exclude<WorkerStatus["state"], "working">, { text: string; level?: LogLine["level"] }> = {
  running: { text: "running" },
  failed: { text: "failed", level: "warn" },
  waiting: { text: "waiting" },
  removing: { text: "being removed" },
  removed: { text: "removed" },
};

/** The progress of a pull is no change of state. */
const withoutNumbers = (text: string): string => text.replaceAll(/[\d.]+/g, "0");
