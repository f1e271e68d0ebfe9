// Nodes and projects as the server answers them: rows with their envelope around. A time that was never set is Go's zero.
import { API_VERSION, type NodeState, type ProjectPhase } from "../../protocol/caravanserai/resources.ts";
import type { CaraNodeRow, ProjectRow } from "../entities.ts";

/** Go's form of a time that was never set. */
export const ZERO_TIME = "0001-01-01T00:00:00Z";

export interface ConditionDocument {
  readonly type: string;
  readonly status: "True" | "False";
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
}

export interface Network {
  readonly ip?: string | undefined;
  readonly dnsName?: string | undefined;
  readonly mode?: string | undefined;
  readonly agentPort?: number | undefined;
  readonly throughput?: string | number | undefined;
}

export interface ProjectSpec {
  readonly services: readonly {
    readonly name: string;
    readonly image: string;
    readonly env?: readonly { readonly name: string; readonly value?: string | undefined }[] | undefined;
    readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[] | undefined;
  }[];
  readonly volumes?: readonly { readonly name: string; readonly type: string }[] | undefined;
  readonly ingress?: readonly object[] | undefined;
  readonly expireAt: string;
}

interface Metadata {
  readonly name: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly createdAt: string;
  readonly updatedAt: string;
}

interface Resource {
  readonly apiVersion: typeof API_VERSION;
  readonly metadata: Metadata;
}

export interface ProjectResource extends Resource {
  readonly kind: "Project";
  readonly spec: ProjectSpec;
  readonly status: {
    readonly phase: ProjectPhase;
    readonly nodeRef: string;
    readonly conditions?: readonly ConditionDocument[];
  };
}

export interface NodeResource extends Resource {
  readonly kind: "Node";
  readonly spec: { readonly hostname: string; readonly unschedulable: boolean };
  readonly status: {
    readonly state: NodeState;
    readonly network?: Network;
    readonly capacity?: Readonly<Record<string, string>>;
    readonly allocatable?: Readonly<Record<string, string>>;
    readonly info?: Readonly<Record<string, string>>;
    readonly conditions?: readonly ConditionDocument[];
    readonly lastHeartbeat: string;
  };
}

/** A report of an agent about a project. */
export interface Report {
  readonly phase: ProjectPhase;
  readonly reason: string;
  readonly message: string;
  readonly at: string;
}

export function projectResource(row: ProjectRow): ProjectResource {
  return {
    apiVersion: API_VERSION,
    kind: "Project",
    metadata: metadataOf(row),
    spec: row.spec,
    status: { phase: row.phase, nodeRef: row.nodeRef, ...unlessEmpty({ conditions: row.conditions }) },
  };
}

export function nodeResource(row: CaraNodeRow): NodeResource {
  return {
    apiVersion: API_VERSION,
    kind: "Node",
    metadata: metadataOf(row),
    spec: { hostname: row.hostname, unschedulable: row.unschedulable },
    status: {
      state: row.state,
      ...unlessEmpty({
        network: row.network,
        capacity: row.capacity,
        allocatable: row.allocatable,
        info: row.info,
        conditions: row.conditions,
      }),
      lastHeartbeat: row.lastHeartbeat ?? ZERO_TIME,
    },
  };
}

function metadataOf({ name, labels, annotations, createdAt, updatedAt }: CaraNodeRow | ProjectRow): Metadata {
  return { name, ...unlessEmpty({ labels, annotations }), createdAt, updatedAt: updatedAt ?? ZERO_TIME };
}

/** Go's `omitempty`: what is null, or has nothing in it, does not stand in the document. */
function unlessEmpty<T extends object>(fields: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const full = Object.entries(fields).filter(
    ([, value]) => typeof value === "object" && value !== null && Object.keys(value).length > 0,
  );
  // Only fields of T are left, and none of them is null.
  return Object.fromEntries(full) as { [K in keyof T]?: NonNullable<T[K]> };
}

/** Returns the list with one condition replaced. The time of its change stays while its status does. */
export function withCondition(
  conditions: readonly ConditionDocument[],
  changed: Omit<ConditionDocument, "lastTransitionTime">,
  now: string,
): ConditionDocument[] {
  const before = conditions.find(({ type }) => type === changed.type);
  const lastTransitionTime = before?.status === changed.status ? before.lastTransitionTime : now;
  return [...conditions.filter(({ type }) => type !== changed.type), { ...changed, lastTransitionTime }];
}
