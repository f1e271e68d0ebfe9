// Schemas of the resources that `get`, `apply` and `delete` receive from the sandbox, and how to word them.
import * as v from "valibot";
import { printable } from "../../../lib/printable.ts";
import { type ProjectSpec, ZERO_TIME } from "../../../sandbox/caravanserai/resources.ts";
import { usageError } from "../../walk.ts";
import type { Operator } from "./client.ts";

const Condition = v.looseObject({
  type: v.string(),
  status: v.string(),
  reason: v.string(),
  message: v.string(),
});
const Metadata = v.looseObject({
  name: v.string(),
  createdAt: v.string(),
  updatedAt: v.optional(v.string(), ""),
});

/** Loose: --json prints all fields of the server, those we do not know included. */
export const ProjectAnswer = v.looseObject({
  kind: v.literal("Project"),
  metadata: Metadata,
  spec: v.custom<ProjectSpec>((value) => typeof value === "object" && value !== null),
  status: v.looseObject({
    phase: v.string(),
    nodeRef: v.string(),
    conditions: v.optional(v.array(Condition), []),
  }),
});
export type ProjectAnswer = v.InferOutput<typeof ProjectAnswer>;

const quantities = v.optional(v.record(v.string(), v.string()), {});
export const NodeAnswer = v.looseObject({
  kind: v.literal("Node"),
  metadata: Metadata,
  spec: v.looseObject({ hostname: v.string(), unschedulable: v.boolean() }),
  status: v.looseObject({
    state: v.string(),
    network: v.optional(v.looseObject({ ip: v.optional(v.string()), agentPort: v.optional(v.number()) }), {}),
    capacity: quantities,
    allocatable: quantities,
    conditions: v.optional(v.array(Condition), []),
    lastHeartbeat: v.string(),
  }),
});
export type NodeAnswer = v.InferOutput<typeof NodeAnswer>;

const KINDS: Readonly<Record<string, "nodes" | "projects">> = {
  node: "nodes",
  nodes: "nodes",
  project: "projects",
  projects: "projects",
};

/** Parses the kind, singular or plural. Throws "cli.usage". */
export function resourceKind(text: string, command: string): "nodes" | "projects" {
  const kind = Object.hasOwn(KINDS, text) ? KINDS[text] : undefined;
  if (kind) return kind;
  throw usageError(`unknown kind "${text}": there are nodes and projects`, ["sandbox", command]);
}

/** Returns the path of one resource in the operator API. */
export const pathOf = (kind: "nodes" | "projects", name: string): string =>
  `/cara/${kind}/${encodeURIComponent(name)}`;

/** Fetches one project. Throws "sandbox.refused" with status 404 when there is none. */
export const getProject = (sandbox: Operator, name: string): Promise<ProjectAnswer> =>
  sandbox.call("GET", pathOf("projects", name), ProjectAnswer);

/** Words why a project is in its phase: "ContainerCrashed: db(exit=137)"; empty without a condition. */
export function reasonOf({ status: { phase, conditions } }: ProjectAnswer): string {
  const condition = (wanted: string) => conditions.find(({ type }) => type === wanted);
  const ready = condition("Ready");
  // A reason for not being ready says more than the name of the node.
  const isBlocked = phase === "Scheduled" && ready?.status === "False";
  const found = (phase === "Pending" || phase === "Scheduled") && !isBlocked ? condition("Scheduled") : ready;
  return found === undefined ? "" : reasonLine(found);
}

/** Joins reason and message in one line. A message may contain output of a container. */
export const reasonLine = ({
  reason,
  message,
}: {
  readonly reason: string;
  readonly message: string;
}): string => [reason, oneLine(message)].filter(Boolean).join(": ");

/** Joins the lines of a text, control characters escaped. */
export const oneLine = (text: string): string => printable(text.trim().replace(/\s*\n\s*/g, " · "));

/** Parses a time into milliseconds since the epoch; `undefined` for Go's zero time, which means never. */
export const timeOf = (text: string): number | undefined =>
  text === ZERO_TIME ? undefined : Date.parse(text);
