// The resources of the Caravanserai server: projects are sets of containers, nodes are the machines that run
// them.
//
// Unknown fields are ignored, the server gains some without notice. Go's zero time ("0001-01-01T00:00:00Z")
// stands wherever a timestamp was never set.
import * as v from "valibot";

export const API_VERSION = "caravanserai/v1";

/** A DNS subdomain of at most 253 characters; the server refuses a node with another name with 400. */
export const NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

/** Go marshals an empty list as null. */
const list = <Item extends v.GenericSchema>(item: Item) => v.nullish(v.array(item), []);

const text = v.pipe(v.string(), v.minLength(1));

export const Metadata = v.object({
  name: text,
  labels: v.nullish(v.record(v.string(), v.string())),
  annotations: v.nullish(v.record(v.string(), v.string())),
  createdAt: v.nullish(v.string()),
  updatedAt: v.nullish(v.string()),
});

export const ServiceSpec = v.object({
  /** DNS alias of its container on the project's network. */
  name: text,
  image: text,
  /** A missing value means the empty string. */
  env: list(v.object({ name: text, value: v.nullish(v.string(), "") })),
  /** `name` refers to a volume of the project. */
  volumeMounts: list(v.object({ name: text, mountPath: text })),
});
export type ServiceSpec = v.InferOutput<typeof ServiceSpec>;

/** "Ephemeral" is the only type today; volumes of another one are left out with a warning. */
export const VolumeSpec = v.object({ name: text, type: v.nullish(v.string(), "Ephemeral") });
export type VolumeSpec = v.InferOutput<typeof VolumeSpec>;

/** A `host` without a dot becomes `{host}.{project}.local`, none becomes `{project}.local`. */
export const IngressSpec = v.object({
  name: v.nullish(v.string(), ""),
  host: v.nullish(v.string(), ""),
  target: v.object({
    service: text,
    port: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535)),
  }),
});
export type IngressSpec = v.InferOutput<typeof IngressSpec>;

export const PHASES = ["Pending", "Scheduled", "Running", "Failed", "Terminating", "Terminated"] as const;
export type ProjectPhase = (typeof PHASES)[number];

export const Project = v.object({
  metadata: Metadata,
  spec: v.object({
    services: v.pipe(list(ServiceSpec), v.minLength(1, "has no services")),
    volumes: list(VolumeSpec),
    ingress: list(IngressSpec),
  }),
  status: v.object({ phase: v.picklist(PHASES), nodeRef: v.nullish(v.string(), "") }),
});
export type Project = v.InferOutput<typeof Project>;

/** What the server shows beside the phase. */
export const Condition = v.object({ reason: v.nullish(v.string(), ""), message: v.nullish(v.string(), "") });
export type Condition = v.InferOutput<typeof Condition>;

/**
 * The part of a project that is needed to report an unreadable one, to remove it, or to see which node has
 * it.
 */
export const ProjectPlace = v.object({
  metadata: v.object({ name: text }),
  status: v.object({
    phase: v.string(),
    nodeRef: v.nullish(v.string(), ""),
    // Only compared with what we would report, so an unreadable one must not hide the project.
    conditions: v.fallback(list(Condition), []),
  }),
});
export type ProjectPlace = v.InferOutput<typeof ProjectPlace>;

/**
 * Items are parsed one by one: one that we do not understand must not hide the others. An answer that neither
 * says what it is nor has a list is none: taken for an empty list it would say that nothing is ours any more.
 */
export const ProjectList = v.union([
  v.object({ items: v.array(v.unknown()) }),
  v.pipe(
    v.object({ kind: v.literal("ProjectList"), items: v.nullish(v.null()) }),
    v.transform((): { items: unknown[] } => ({ items: [] })),
  ),
]);

/** Reason of the phase of a project, shown by clients. */
export const REASONS = [
  "ContainersRunning",
  "ContainerExited",
  "ContainerCrashed",
  "ContainerMissing",
  "InspectError",
  "ReconcileError",
  "RemoveError",
  "ResourcesRemoved",
] as const;
export type Reason = (typeof REASONS)[number];

/**
 * `PATCH /projects/{name}/status`: 204; 404 when the project is gone, 400 for a phase it does not know. The
 * phase that it is in may be sent again, to show what is wrong: the server checks no transition.
 */
export interface ProjectStatus {
  phase: Exclude<ProjectPhase, "Pending">;
  reason: Reason;
  message: string;
}

export const NODE_STATES = ["Ready", "NotReady", "Draining"] as const;
export type NodeState = (typeof NODE_STATES)[number];

/** The part of a node that is needed to call its agent, and to notice that its name was registered again. */
export const NodePlace = v.object({
  metadata: v.nullish(v.object({ createdAt: v.nullish(v.string(), "") }), { createdAt: "" }),
  status: v.object({
    state: v.nullish(v.string(), ""),
    network: v.nullish(v.object({ ip: v.nullish(v.string(), ""), agentPort: v.nullish(v.number(), 0) })),
  }),
});
export type NodePlace = v.InferOutput<typeof NodePlace>;

/** Kubernetes quantities: "4000m", "16Gi". The server derives disk and memory pressure from them. */
export interface Resources {
  cpu: string;
  memory: string;
  disk: string;
}

/** `POST /nodes`: 201; 409 exists already, which is fine; 400 for a bad name. */
export interface NodeRegistration {
  apiVersion: typeof API_VERSION;
  kind: "Node";
  metadata: { name: string };
  spec: { hostname: string };
}

/** The answer to a registration: the node that was made, or nothing. */
export const NodeCreated = v.union([v.undefined(), v.object({ metadata: v.object({ name: text }) })]);

/** Versions of the node, for people. */
export interface NodeInfo {
  kernelVersion: string;
  /** "Debian GNU/Linux 12 (bookworm)" */
  osImage: string;
  agentVersion: string;
}

/**
 * `POST /nodes/{name}/heartbeat`: 204; all optional and merged; 404 means the node was deleted: register
 * again.
 */
export interface NodeHeartbeat {
  state?: NodeState;
  network?: { ip: string; mode: "Direct"; agentPort?: number };
  capacity?: Resources;
  allocatable?: Resources;
  /** Newer servers keep it as `status.info`, older ones ignore it. */
  info?: NodeInfo;
}

/** Problem document (RFC 9457): error body of the server and of the agent's own listener. */
export const Problem = v.object({
  type: v.optional(v.string()),
  title: v.optional(v.string()),
  status: v.optional(v.number()),
  detail: v.optional(v.string()),
});
export type Problem = v.InferOutput<typeof Problem>;
