// The sandbox's own documents, as operators, the command line and tests see them: snake_case keys, ISO times.
import * as v from "valibot";
import { ROOT_PROFILES } from "../protocol/noderax/root-access.ts";
import { TASK_STATUSES } from "../protocol/noderax/tasks.ts";
import { rootAccessStatus } from "./noderax/nodes.ts";
import type {
  ChunkRow,
  EnrollmentRow,
  EventRow,
  InstallRow,
  LogRow,
  MetricRow,
  NodeRow,
  TaskRow,
  TerminalRow,
  UpdateTargetRow,
} from "./store.ts";

const text = v.string();
const maybe = v.nullable(v.string());
const anyRecord = v.nullable(v.record(v.string(), v.unknown()));

export const NodeDocument = v.object({
  name: text,
  id: text,
  status: v.picklist(["online", "offline"]),
  hostname: text,
  last_seen_at: maybe,
  os: maybe,
  arch: maybe,
  agent_version: maybe,
  platform_version: maybe,
  kernel_version: maybe,
  maintenance: v.boolean(),
  root_access: v.object({
    profile: v.picklist(ROOT_PROFILES),
    updated_at: maybe,
    applied_profile: v.picklist(ROOT_PROFILES),
    last_applied_at: maybe,
    last_error: maybe,
    status: v.picklist(["failed", "applied", "pending"]),
  }),
  created_at: text,
});
export type NodeDocument = v.InferOutput<typeof NodeDocument>;

/** Without the token: whoever has it, has the node's credentials after the approval. */
export const EnrollmentDocument = v.object({
  id: text,
  status: v.picklist(["pending", "approved", "revoked"]),
  email: text,
  hostname: text,
  additional_info: anyRecord,
  node_id: maybe,
  expires_at: text,
  created_at: text,
});
export type EnrollmentDocument = v.InferOutput<typeof EnrollmentDocument>;

export const InstallDocument = v.object({
  install_id: text,
  /** Only in the answer that makes it. */
  token: v.optional(text),
  node_name: text,
  hostname: maybe,
  node_id: maybe,
  status: v.picklist(["pending", "installing", "completed", "failed", "expired"]),
  stage: text,
  progress_percent: v.number(),
  status_message: text,
  expires_at: text,
});
export type InstallDocument = v.InferOutput<typeof InstallDocument>;

export const TaskDocument = v.object({
  id: text,
  node_id: text,
  type: text,
  status: v.picklist(TASK_STATUSES),
  payload: anyRecord,
  result: anyRecord,
  output: maybe,
  output_truncated: v.boolean(),
  lease_until: maybe,
  started_at: maybe,
  finished_at: maybe,
  cancel_requested_at: maybe,
  cancel_reason: maybe,
  created_at: text,
});
export type TaskDocument = v.InferOutput<typeof TaskDocument>;

export const LogDocument = v.object({
  id: text,
  level: v.picklist(["stdout", "stderr", "info"]),
  stream: text,
  line: text,
  timestamp: maybe,
  created_at: text,
});
export type LogDocument = v.InferOutput<typeof LogDocument>;

export const UpdateDocument = v.object({
  id: text,
  node_id: text,
  task_id: text,
  target_version: text,
  status: text,
  progress_percent: v.number(),
  message: maybe,
});
export type UpdateDocument = v.InferOutput<typeof UpdateDocument>;

export const TERMINAL_STATUSES = ["pending", "open", "terminating", "closed", "failed"] as const;

/** The reason of a terminal that failed because its time to open was over. The agent is not told. */
export const TERMINAL_NOT_OPENED = "The agent did not open the terminal in time.";

export const TerminalDocument = v.object({
  id: text,
  node_id: text,
  status: v.picklist(TERMINAL_STATUSES),
  cols: v.number(),
  rows: v.number(),
  run_as_root: v.boolean(),
  exit_code: v.nullable(v.number()),
  closed_reason: maybe,
  created_at: text,
  opened_at: maybe,
  closed_at: maybe,
});
export type TerminalDocument = v.InferOutput<typeof TerminalDocument>;

/** A piece of a terminal's transcript. */
export const ChunkDocument = v.object({
  seq: v.number(),
  direction: v.picklist(["input", "output", "system"]),
  /** Base64. */
  payload: text,
  created_at: text,
});
export type ChunkDocument = v.InferOutput<typeof ChunkDocument>;

export const MetricDocument = v.object({
  cpu_usage: v.number(),
  memory_usage: v.number(),
  disk_usage: v.number(),
  temperature: v.nullable(v.number()),
  network_stats: anyRecord,
  recorded_at: text,
});
export type MetricDocument = v.InferOutput<typeof MetricDocument>;

export interface EventDocument {
  node_id: string;
  type: EventRow["type"];
  created_at: string;
}

export function nodeDocument(node: NodeRow): NodeDocument {
  return {
    name: node.name,
    id: node.id,
    status: node.status,
    hostname: node.hostname,
    last_seen_at: node.lastSeenAt,
    os: node.os,
    arch: node.arch,
    agent_version: node.agentVersion,
    platform_version: node.platformVersion,
    kernel_version: node.kernelVersion,
    maintenance: node.maintenance,
    root_access: {
      profile: node.rootProfile,
      updated_at: node.rootUpdatedAt,
      applied_profile: node.appliedProfile,
      last_applied_at: node.lastAppliedAt,
      last_error: node.lastError,
      status: rootAccessStatus(node),
    },
    created_at: node.createdAt,
  };
}

export function enrollmentDocument(enrollment: EnrollmentRow): EnrollmentDocument {
  return {
    id: enrollment.id,
    status: enrollment.status,
    email: enrollment.email,
    hostname: enrollment.hostname,
    additional_info: enrollment.additionalInfo,
    node_id: enrollment.nodeId,
    expires_at: enrollment.expiresAt,
    created_at: enrollment.createdAt,
  };
}

export function installDocument(install: InstallRow): InstallDocument {
  return {
    install_id: install.installId,
    node_name: install.nodeName,
    hostname: install.hostname,
    node_id: install.nodeId,
    status: install.status,
    stage: install.stage,
    progress_percent: install.progressPercent,
    status_message: install.statusMessage,
    expires_at: install.expiresAt,
  };
}

export function taskDocument(task: TaskRow): TaskDocument {
  return {
    id: task.id,
    node_id: task.nodeId,
    type: task.type,
    status: task.status,
    payload: task.payload,
    result: task.result,
    output: task.output,
    output_truncated: task.outputTruncated,
    lease_until: task.leaseUntil,
    started_at: task.startedAt,
    finished_at: task.finishedAt,
    cancel_requested_at: task.cancelRequestedAt,
    cancel_reason: task.cancelReason,
    created_at: task.createdAt,
  };
}

export function logDocument(row: LogRow): LogDocument {
  return {
    id: row.id,
    level: row.level,
    stream: row.stream,
    line: row.line,
    timestamp: row.timestamp,
    created_at: row.createdAt,
  };
}

export function updateDocument(target: UpdateTargetRow): UpdateDocument {
  return {
    id: target.id,
    node_id: target.nodeId,
    task_id: target.taskId,
    target_version: target.targetVersion,
    status: target.status,
    progress_percent: target.progressPercent,
    message: target.message,
  };
}

export function terminalDocument(terminal: TerminalRow): TerminalDocument {
  return {
    id: terminal.id,
    node_id: terminal.nodeId,
    status: terminal.status,
    cols: terminal.cols,
    rows: terminal.rows,
    run_as_root: terminal.runAsRoot,
    exit_code: terminal.exitCode,
    closed_reason: terminal.closedReason,
    created_at: terminal.createdAt,
    opened_at: terminal.openedAt,
    closed_at: terminal.closedAt,
  };
}

export function chunkDocument({ seq, direction, payload, createdAt }: ChunkRow): ChunkDocument {
  return { seq, direction, payload, created_at: createdAt };
}

export function metricDocument(row: MetricRow): MetricDocument {
  return {
    cpu_usage: row.cpuUsage,
    memory_usage: row.memoryUsage,
    disk_usage: row.diskUsage,
    temperature: row.temperature,
    network_stats: row.networkStats,
    recorded_at: row.recordedAt,
  };
}
