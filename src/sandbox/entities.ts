// Every table of the sandbox with its columns: rows, SQL and the documents of operators are derived from here.
// Times are ISO strings, as on the wire. A column added later must be nullable: older databases get it empty.
import { NODE_STATES, PHASES } from "../protocol/caravanserai/resources.ts";
import { ROOT_PROFILES } from "../protocol/noderax/root-access.ts";
import { TASK_STATUSES } from "../protocol/noderax/tasks.ts";
import type { ConditionDocument, Network, ProjectSpec } from "./caravanserai/resources.ts";
import {
  type RowOf,
  boolean,
  entity,
  hidden,
  idOf,
  integer,
  json,
  key,
  nullable,
  oneOf,
  real,
  record,
  text,
  unique,
  varchar,
} from "./column.ts";

/** The root access of a node is a document of its own within the node's, with other names. */
export const NODES = entity("nodes", {
  name: varchar(255),
  id: key,
  status: oneOf(["online", "offline"]),
  hostname: unique(varchar(255)),
  agentToken: hidden(nullable(text)),
  lastSeenAt: nullable(text),
  os: nullable(varchar(255)),
  arch: nullable(varchar(64)),
  agentVersion: nullable(varchar(64)),
  platformVersion: nullable(varchar(120)),
  kernelVersion: nullable(varchar(120)),
  maintenance: boolean,
  location: nullable(record),
  rootProfile: hidden(oneOf(ROOT_PROFILES)),
  rootUpdatedAt: hidden(nullable(text)),
  appliedProfile: hidden(oneOf(ROOT_PROFILES)),
  lastAppliedAt: hidden(nullable(text)),
  lastError: hidden(nullable(text)),
  createdAt: text,
});
export type NodeRow = RowOf<typeof NODES>;

/** The token is hidden: with it, anyone can fetch the node's credentials after the approval. */
export const ENROLLMENTS = entity("enrollments", {
  id: key,
  token: hidden(unique(text)),
  status: oneOf(["pending", "approved", "revoked"]),
  email: varchar(255),
  hostname: varchar(255),
  additionalInfo: nullable(record),
  nodeId: nullable(text),
  expiresAt: text,
  createdAt: text,
});
export type EnrollmentRow = RowOf<typeof ENROLLMENTS>;

export const INSTALLS = entity("installs", {
  installId: key,
  token: hidden(unique(text)),
  nodeName: varchar(255),
  description: hidden(nullable(text)),
  hostname: nullable(varchar(255)),
  nodeId: nullable(text),
  status: oneOf(["pending", "installing", "completed", "failed", "expired"]),
  stage: text,
  progressPercent: real,
  statusMessage: text,
  startedAt: hidden(nullable(text)),
  consumedAt: hidden(nullable(text)),
  expiresAt: text,
  createdAt: hidden(text),
  updatedAt: hidden(text),
});
export type InstallRow = RowOf<typeof INSTALLS>;

export const TASKS = entity(
  "tasks",
  {
    id: key,
    nodeId: idOf("nodes"),
    type: text,
    isInternal: hidden(boolean),
    status: oneOf(TASK_STATUSES),
    payload: nullable(record),
    result: nullable(record),
    output: nullable(text),
    outputTruncated: boolean,
    leaseUntil: nullable(text),
    claimedBy: hidden(nullable(text)),
    claimToken: hidden(nullable(text)),
    startedAt: nullable(text),
    finishedAt: nullable(text),
    cancelRequestedAt: nullable(text),
    cancelReason: nullable(text),
    createdAt: text,
    updatedAt: hidden(text),
  },
  { indexes: { tasks_by_node: "nodeId, status, createdAt" } },
);
export type TaskRow = RowOf<typeof TASKS>;

export const LOGS = entity(
  "task_logs",
  {
    id: key,
    taskId: hidden(idOf("tasks")),
    level: oneOf(["stdout", "stderr", "info"]),
    stream: text,
    line: text,
    timestamp: nullable(text),
    createdAt: text,
  },
  { indexes: { task_logs_by_task: "taskId" } },
);
export type LogRow = RowOf<typeof LOGS>;

export const METRICS = entity("metrics", {
  id: hidden(key),
  nodeId: hidden(idOf("nodes")),
  cpuUsage: real,
  memoryUsage: real,
  diskUsage: real,
  temperature: nullable(real),
  networkStats: nullable(record),
  recordedAt: text,
});
export type MetricRow = RowOf<typeof METRICS>;

export const EVENTS = entity("events", {
  id: hidden(key),
  nodeId: text,
  type: oneOf(["node.online", "node.offline", "task.completed", "task.failed", "task.cancelled"]),
  createdAt: text,
});
export type EventRow = RowOf<typeof EVENTS>;

export const UPDATE_TARGETS = entity("update_targets", {
  id: key,
  nodeId: idOf("nodes"),
  taskId: text,
  targetVersion: text,
  status: text,
  progressPercent: real,
  message: nullable(text),
  updatedAt: hidden(text),
});
export type UpdateTargetRow = RowOf<typeof UPDATE_TARGETS>;

export const TERMINALS = entity("terminals", {
  id: key,
  nodeId: idOf("nodes"),
  status: oneOf(["pending", "open", "terminating", "closed", "failed"]),
  cols: integer,
  rows: integer,
  runAsRoot: boolean,
  exitCode: nullable(integer),
  closedReason: nullable(text),
  createdAt: text,
  openedAt: nullable(text),
  closedAt: nullable(text),
});
export type TerminalRow = RowOf<typeof TERMINALS>;

/** One piece of a terminal's transcript. `seq` counts up from 1 within its session. */
export const CHUNKS = entity(
  "terminal_chunks",
  {
    sessionId: hidden(idOf("terminals")),
    seq: integer,
    direction: oneOf(["input", "output", "system"]),
    /** Base64. */
    payload: text,
    /** Bytes of the transcript up to the end of this chunk. */
    total: hidden(integer),
    createdAt: text,
  },
  { constraint: "PRIMARY KEY (sessionId, seq)" },
);
export type ChunkRow = RowOf<typeof CHUNKS>;

type StringMap = Record<string, string>;

/** A machine as the Caravanserai server knows it. Its document is `NodeResource`. */
export const CARA_NODES = entity("cara_nodes", {
  name: key,
  labels: nullable(json<StringMap>()),
  annotations: nullable(json<StringMap>()),
  hostname: text,
  unschedulable: boolean,
  state: oneOf(NODE_STATES),
  network: nullable(json<Network>()),
  capacity: nullable(json<StringMap>()),
  allocatable: nullable(json<StringMap>()),
  info: nullable(json<StringMap>()),
  conditions: json<ConditionDocument[]>(),
  lastHeartbeat: nullable(text),
  createdAt: text,
  updatedAt: nullable(text),
});
export type CaraNodeRow = RowOf<typeof CARA_NODES>;

/** Its document is `ProjectResource`. */
export const PROJECTS = entity(
  "cara_projects",
  {
    name: key,
    labels: nullable(json<StringMap>()),
    annotations: nullable(json<StringMap>()),
    spec: json<ProjectSpec>(),
    phase: oneOf(PHASES),
    /** Empty while there is none. */
    nodeRef: text,
    conditions: json<ConditionDocument[]>(),
    phaseSince: text,
    /** Since when its node is known to be lost. */
    strandedSince: nullable(text),
    createdAt: text,
    updatedAt: nullable(text),
  },
  { indexes: { cara_projects_by_node: "nodeRef, phase" } },
);
export type ProjectRow = RowOf<typeof PROJECTS>;

/** A report of an agent about a project. */
export const REPORTS = entity(
  "cara_reports",
  { id: key, project: text, phase: oneOf(PHASES), reason: text, message: text, at: text },
  { indexes: { cara_reports_by_project: "project" } },
);
export type ReportRow = RowOf<typeof REPORTS>;
