// What `get`, `apply` and `delete` share: the resources as the sandbox answers them, and how their kinds are called.
import * as v from "valibot";
import { AgentError, exit } from "../../../lib/agent-error.ts";
import { printable } from "../../../lib/printable.ts";
import { type ProjectSpec, ZERO_TIME } from "../../../sandbox/caravanserai/resources.ts";
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

/** Resources belong to the server: with --json they are printed as they come. */
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

/** One or many, as people type it. Throws AgentError, exit 2. */
export function kindOf(text: string, command: string): "nodes" | "projects" {
  const kind = Object.hasOwn(KINDS, text) ? KINDS[text] : undefined;
  if (kind) return kind;
  throw new AgentError("cli.usage", `unknown kind "${text}": there are nodes and projects`, {
    exit: exit.usage,
    hint: `see: noderax-agent help sandbox ${command}`,
  });
}

export const pathOf = (kind: "nodes" | "projects", name: string): string =>
  `/cara/${kind}/${encodeURIComponent(name)}`;

export const getProject = (sandbox: Operator, name: string): Promise<ProjectAnswer> =>
  sandbox.call("GET", pathOf("projects", name), ProjectAnswer);

/** What is last known of why a project stands where it stands: "ContainerCrashed: db(exit=137)". */
export function reasonOf({ status: { phase, conditions } }: ProjectAnswer): string {
  const told = (wanted: string) => conditions.find(({ type }) => type === wanted);
  const ready = told("Ready");
  // What its node waits for says more than that it has one.
  const isTrouble = phase === "Scheduled" && ready?.status === "False";
  const found = (phase === "Pending" || phase === "Scheduled") && !isTrouble ? told("Scheduled") : ready;
  return found === undefined ? "" : because(found);
}

/** Reason and message in one line: a message may carry what a container printed. */
export const because = ({ reason, message }: { readonly reason: string; readonly message: string }): string =>
  [reason, oneLine(message)].filter(Boolean).join(": ");

export const oneLine = (text: string): string => printable(text.trim().replace(/\s*\n\s*/g, " · "));

/** Milliseconds since the epoch; undefined for what never was. */
export const timeOf = (text: string): number | undefined =>
  text === ZERO_TIME ? undefined : Date.parse(text);
