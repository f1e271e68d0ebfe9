// The life of a project, as pure decisions: what becomes of its row when something happens to it, or when time goes by.
//
//   Pending ──node──▶ Scheduled ──report──▶ Running ──report──▶ Failed
//      ▲                 │ node lost            │ node lost     ▲   │
//      ├─────────────────┘                      │ for 3 min     └───┘ a new spec: nothing but that changes
//      └────────────────────────────────────────┘
//   DELETE   Pending, Failed, Terminated: removed at once
//            Scheduled, Running: Terminating ──report, or 10 min──▶ Terminated ──1 min──▶ removed
//   A report leads from any phase to any other: the server checks no transition.
import type { ProjectPhase } from "../../protocol/caravanserai/resources.ts";
import type { CaraNodeRow, ProjectRow } from "../entities.ts";
import type { Timings } from "../timings.ts";
import type { StatusReport } from "./manifest.ts";
import { ZERO_TIME, withCondition } from "./resources.ts";

export type ProjectChange = Partial<Omit<ProjectRow, "name">>;

const iso = (now: number): string => new Date(now).toISOString();

/** Into another phase, from now on. */
function enter(phase: ProjectPhase, now: number): ProjectChange {
  return { phase, phaseSince: iso(now), updatedAt: iso(now), strandedSince: null };
}

/** A spec may be changed while nothing is meant to run. */
export const isChangeable = ({ phase }: Pick<ProjectRow, "phase">): boolean =>
  phase === "Pending" || phase === "Failed";

/** Back to where the scheduler finds it. */
const toPending = (
  { conditions }: ProjectRow,
  reason: string,
  message: string,
  now: number,
): ProjectChange => ({
  ...enter("Pending", now),
  nodeRef: "",
  conditions: withCondition(conditions, { type: "Scheduled", status: "False", reason, message }, iso(now)),
});

/** What DELETE does; "remove" is the end of the record. */
export function onDelete(
  { phase }: ProjectRow,
  force: boolean,
  now: number,
): ProjectChange | "remove" | undefined {
  if (force || phase === "Pending" || phase === "Failed" || phase === "Terminated") return "remove";
  return phase === "Terminating" ? undefined : enter("Terminating", now);
}

/** What a report of an agent does. The server neither knows who reports nor asks whether the phase can follow. */
export function onReport(
  { phase, conditions }: ProjectRow,
  report: StatusReport,
  now: number,
): ProjectChange {
  const { reason, message } = report;
  const status = report.phase === "Running" ? "True" : "False";
  return {
    ...(phase === report.phase ? { updatedAt: iso(now) } : enter(report.phase, now)),
    conditions: withCondition(conditions, { type: "Ready", status, reason, message }, iso(now)),
  };
}

/** Returns the change of a project by time and the state of the nodes; undefined for none. */
export function onPass(
  project: ProjectRow,
  nodes: ReadonlyMap<string, CaraNodeRow>,
  timings: Timings,
  now: number,
): ProjectChange | "remove" | undefined {
  const { phase, phaseSince, spec } = project;
  const lasted = now - Date.parse(phaseSince);
  const expired = spec.expireAt !== ZERO_TIME && Date.parse(spec.expireAt) <= now;
  if (phase === "Terminated") return lasted >= timings.terminatedLife ? "remove" : undefined;
  if (phase === "Terminating") return lasted >= timings.terminatingLimit ? forced(project, now) : undefined;
  if (expired) return onDelete(project, false, now);
  if (phase === "Pending") return schedule(project, nodes, now);
  return phase === "Failed" ? undefined : onLostNode(project, nodes, timings, now);
}

function forced({ conditions }: ProjectRow, now: number): ProjectChange {
  const condition = {
    type: "Ready",
    status: "False",
    reason: "TerminatingTimeout",
    message: "the node did not confirm the removal",
  } as const;
  return { ...enter("Terminated", now), conditions: withCondition(conditions, condition, iso(now)) };
}

/** The first node by name that is Ready and takes projects. */
function schedule(
  { conditions }: ProjectRow,
  nodes: ReadonlyMap<string, CaraNodeRow>,
  now: number,
): ProjectChange | undefined {
  const node = [...nodes.values()]
    .filter(({ state, unschedulable }) => state === "Ready" && !unschedulable)
    .sort((a, b) => (a.name < b.name ? -1 : 1))[0];
  if (node === undefined) {
    const condition = {
      type: "Scheduled",
      status: "False",
      reason: "NoReadyNode",
      message: "no node is Ready and schedulable",
    } as const;
    const known = conditions.some(
      ({ type, reason }) => type === condition.type && reason === condition.reason,
    );
    return known ? undefined : { conditions: withCondition(conditions, condition, iso(now)) };
  }
  const condition = {
    type: "Scheduled",
    status: "True",
    reason: "NodeAssigned",
    message: `on ${node.name}`,
  } as const;
  return {
    ...enter("Scheduled", now),
    nodeRef: node.name,
    conditions: withCondition(conditions, condition, iso(now)),
  };
}

/** A node is lost when it is NotReady, or was deleted. It is not informed that a project has left it. */
function onLostNode(
  project: ProjectRow,
  nodes: ReadonlyMap<string, CaraNodeRow>,
  { rescheduleGrace }: Timings,
  now: number,
): ProjectChange | undefined {
  const { phase, nodeRef, strandedSince } = project;
  const lost = (nodes.get(nodeRef)?.state ?? "NotReady") === "NotReady";
  if (!lost) return strandedSince === null ? undefined : { strandedSince: null };
  const since = strandedSince === null ? now : Date.parse(strandedSince);
  if (phase === "Scheduled" || now - since >= rescheduleGrace)
    return toPending(project, "NodeLost", `node ${nodeRef} is not ready`, now);
  return strandedSince === null ? { strandedSince: iso(now) } : undefined;
}
