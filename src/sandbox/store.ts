// The rows of the miniature control plane and the tables that hold them. Times are ISO strings, as on the wire.
import type { Database } from "bun:sqlite";
import { join } from "node:path";
import { openDatabase } from "../platform/database.ts";
import type { NodeState, Phase } from "../protocol/caravanserai/resources.ts";
import type { RootProfile } from "../protocol/noderax/root-access.ts";
import type { TaskStatus } from "../protocol/noderax/tasks.ts";
import type { Condition, Network, ProjectSpec } from "./caravanserai/resources.ts";
import { MIGRATIONS } from "./schema.ts";
import { Table, boolean, json, number, text, varchar } from "./table.ts";

export interface NodeRow {
  id: string;
  name: string;
  hostname: string;
  agentToken: string | null;
  os: string | null;
  arch: string | null;
  agentVersion: string | null;
  platformVersion: string | null;
  kernelVersion: string | null;
  status: "online" | "offline";
  lastSeenAt: string | null;
  maintenance: boolean;
  rootProfile: RootProfile;
  rootUpdatedAt: string | null;
  appliedProfile: RootProfile;
  lastAppliedAt: string | null;
  lastError: string | null;
  createdAt: string;
}

export interface EnrollmentRow {
  id: string;
  token: string;
  email: string;
  hostname: string;
  additionalInfo: Record<string, unknown> | null;
  status: "pending" | "approved" | "revoked";
  nodeId: string | null;
  expiresAt: string;
  createdAt: string;
}

export interface InstallRow {
  installId: string;
  token: string;
  nodeName: string;
  description: string | null;
  hostname: string | null;
  nodeId: string | null;
  status: "pending" | "installing" | "completed" | "failed" | "expired";
  stage: string;
  progressPercent: number;
  statusMessage: string;
  startedAt: string | null;
  consumedAt: string | null;
  expiresAt: string;
  createdAt: string;
  updatedAt: string;
}

export interface TaskRow {
  id: string;
  nodeId: string;
  type: string;
  isInternal: boolean;
  payload: Record<string, unknown> | null;
  status: TaskStatus;
  result: Record<string, unknown> | null;
  output: string | null;
  outputTruncated: boolean;
  leaseUntil: string | null;
  claimedBy: string | null;
  claimToken: string | null;
  startedAt: string | null;
  finishedAt: string | null;
  cancelRequestedAt: string | null;
  cancelReason: string | null;
  createdAt: string;
  updatedAt: string;
}

export interface LogRow {
  id: string;
  taskId: string;
  level: "stdout" | "stderr" | "info";
  stream: string;
  line: string;
  timestamp: string | null;
  createdAt: string;
}

export interface MetricRow {
  id: string;
  nodeId: string;
  cpuUsage: number;
  memoryUsage: number;
  diskUsage: number;
  temperature: number | null;
  networkStats: Record<string, unknown> | null;
  recordedAt: string;
}

export interface EventRow {
  id: string;
  nodeId: string;
  type: "node.online" | "node.offline" | "task.completed" | "task.failed" | "task.cancelled";
  createdAt: string;
}

export interface UpdateTargetRow {
  id: string;
  nodeId: string;
  taskId: string;
  targetVersion: string;
  status: string;
  progressPercent: number;
  message: string | null;
  updatedAt: string;
}

export interface TerminalRow {
  id: string;
  nodeId: string;
  status: "pending" | "open" | "terminating" | "closed" | "failed";
  cols: number;
  rows: number;
  runAsRoot: boolean;
  exitCode: number | null;
  closedReason: string | null;
  createdAt: string;
  openedAt: string | null;
  closedAt: string | null;
}

/** One piece of a terminal's transcript. `seq` counts up from 1 within its session. */
export interface ChunkRow {
  sessionId: string;
  seq: number;
  direction: "input" | "output" | "system";
  /** Base64. */
  payload: string;
  /** Bytes of the transcript up to the end of this chunk. */
  total: number;
  createdAt: string;
}

type StringMap = Record<string, string>;

/** A machine as the Caravanserai server knows it. */
export interface CaraNodeRow {
  name: string;
  labels: StringMap | null;
  annotations: StringMap | null;
  hostname: string;
  unschedulable: boolean;
  state: NodeState;
  network: Network | null;
  capacity: StringMap | null;
  allocatable: StringMap | null;
  info: StringMap | null;
  conditions: Condition[];
  lastHeartbeat: string | null;
  createdAt: string;
  updatedAt: string | null;
}

export interface ProjectRow {
  name: string;
  labels: StringMap | null;
  annotations: StringMap | null;
  spec: ProjectSpec;
  phase: Phase;
  /** Empty while there is none. */
  nodeRef: string;
  conditions: Condition[];
  phaseSince: string;
  /** Since when its node is known to be lost. */
  strandedSince: string | null;
  createdAt: string;
  updatedAt: string | null;
}

/** What an agent said about a project. */
export interface ReportRow {
  id: string;
  project: string;
  phase: Phase;
  reason: string;
  message: string;
  at: string;
}

export interface Store {
  readonly nodes: Table<NodeRow>;
  readonly enrollments: Table<EnrollmentRow>;
  readonly installs: Table<InstallRow>;
  readonly tasks: Table<TaskRow>;
  readonly logs: Table<LogRow>;
  readonly metrics: Table<MetricRow>;
  readonly events: Table<EventRow>;
  readonly updateTargets: Table<UpdateTargetRow>;
  readonly terminals: Table<TerminalRow>;
  readonly chunks: Table<ChunkRow>;
  readonly caraNodes: Table<CaraNodeRow>;
  readonly projects: Table<ProjectRow>;
  readonly reports: Table<ReportRow>;
  close(): void;
}

/** Opens the tables in `<directory>/sandbox.db`, or in memory. */
export function openStore(directory?: string): Store {
  const database = openDatabase(
    directory === undefined ? ":memory:" : join(directory, "sandbox.db"),
    MIGRATIONS,
  );
  return { ...tables(database), close: () => database.close() };
}

function tables(database: Database): Omit<Store, "close"> {
  return {
    nodes: new Table<NodeRow>(database, "nodes", {
      id: text,
      name: varchar(255),
      hostname: varchar(255),
      agentToken: text,
      os: varchar(255),
      arch: varchar(64),
      agentVersion: varchar(64),
      platformVersion: varchar(120),
      kernelVersion: varchar(120),
      status: text,
      lastSeenAt: text,
      maintenance: boolean,
      rootProfile: text,
      rootUpdatedAt: text,
      appliedProfile: text,
      lastAppliedAt: text,
      lastError: text,
      createdAt: text,
    }),
    enrollments: new Table<EnrollmentRow>(database, "enrollments", {
      id: text,
      token: text,
      email: varchar(255),
      hostname: varchar(255),
      additionalInfo: json,
      status: text,
      nodeId: text,
      expiresAt: text,
      createdAt: text,
    }),
    installs: new Table<InstallRow>(database, "installs", {
      installId: text,
      token: text,
      nodeName: varchar(255),
      description: text,
      hostname: varchar(255),
      nodeId: text,
      status: text,
      stage: text,
      progressPercent: number,
      statusMessage: text,
      startedAt: text,
      consumedAt: text,
      expiresAt: text,
      createdAt: text,
      updatedAt: text,
    }),
    tasks: new Table<TaskRow>(database, "tasks", {
      id: text,
      nodeId: text,
      type: text,
      isInternal: boolean,
      payload: json,
      status: text,
      result: json,
      output: text,
      outputTruncated: boolean,
      leaseUntil: text,
      claimedBy: text,
      claimToken: text,
      startedAt: text,
      finishedAt: text,
      cancelRequestedAt: text,
      cancelReason: text,
      createdAt: text,
      updatedAt: text,
    }),
    logs: new Table<LogRow>(database, "task_logs", {
      id: text,
      taskId: text,
      level: text,
      stream: text,
      line: text,
      timestamp: text,
      createdAt: text,
    }),
    metrics: new Table<MetricRow>(database, "metrics", {
      id: text,
      nodeId: text,
      cpuUsage: number,
      memoryUsage: number,
      diskUsage: number,
      temperature: number,
      networkStats: json,
      recordedAt: text,
    }),
    events: new Table<EventRow>(database, "events", { id: text, nodeId: text, type: text, createdAt: text }),
    updateTargets: new Table<UpdateTargetRow>(database, "update_targets", {
      id: text,
      nodeId: text,
      taskId: text,
      targetVersion: text,
      status: text,
      progressPercent: number,
      message: text,
      updatedAt: text,
    }),
    terminals: new Table<TerminalRow>(database, "terminals", {
      id: text,
      nodeId: text,
      status: text,
      cols: number,
      rows: number,
      runAsRoot: boolean,
      exitCode: number,
      closedReason: text,
      createdAt: text,
      openedAt: text,
      closedAt: text,
    }),
    chunks: new Table<ChunkRow>(database, "terminal_chunks", {
      sessionId: text,
      seq: number,
      direction: text,
      payload: text,
      total: number,
      createdAt: text,
    }),
    caraNodes: new Table<CaraNodeRow>(database, "cara_nodes", {
      name: text,
      labels: json,
      annotations: json,
      hostname: text,
      unschedulable: boolean,
      state: text,
      network: json,
      capacity: json,
      allocatable: json,
      info: json,
      conditions: json,
      lastHeartbeat: text,
      createdAt: text,
      updatedAt: text,
    }),
    projects: new Table<ProjectRow>(database, "cara_projects", {
      name: text,
      labels: json,
      annotations: json,
      spec: json,
      phase: text,
      nodeRef: text,
      conditions: json,
      phaseSince: text,
      strandedSince: text,
      createdAt: text,
      updatedAt: text,
    }),
    reports: new Table<ReportRow>(database, "cara_reports", {
      id: text,
      project: text,
      phase: text,
      reason: text,
      message: text,
      at: text,
    }),
  };
}

/** Now, or a moment from now, as the wire writes times. */
export const isoNow = (offset = 0): string => new Date(Date.now() + offset).toISOString();
