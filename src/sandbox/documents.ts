// The sandbox's own documents, as operators, the command line and tests see them: snake_case keys, ISO times.
import * as v from "valibot";
import { ROOT_PROFILES } from "../protocol/noderax/root-access.ts";
import { documentOf } from "./column.ts";
import {
  CHUNKS,
  ENROLLMENTS,
  EVENTS,
  INSTALLS,
  LOGS,
  METRICS,
  NODES,
  type NodeRow,
  TASKS,
  TERMINALS,
  UPDATE_TARGETS,
} from "./entities.ts";
import { rootAccessStatus } from "./noderax/nodes.ts";

const node = documentOf(NODES);
export const NodeDocument = v.object({
  ...node.schema.entries,
  root_access: v.object({
    profile: v.picklist(ROOT_PROFILES),
    updated_at: v.nullable(v.string()),
    applied_profile: v.picklist(ROOT_PROFILES),
    last_applied_at: v.nullable(v.string()),
    last_error: v.nullable(v.string()),
    status: v.picklist(["failed", "applied", "pending"]),
  }),
});
export type NodeDocument = v.InferOutput<typeof NodeDocument>;

export const nodeDocument = (row: NodeRow): NodeDocument => ({
  ...node.of(row),
  root_access: {
    profile: row.rootProfile,
    updated_at: row.rootUpdatedAt,
    applied_profile: row.appliedProfile,
    last_applied_at: row.lastAppliedAt,
    last_error: row.lastError,
    status: rootAccessStatus(row),
  },
});

export const { schema: EnrollmentDocument, of: enrollmentDocument } = documentOf(ENROLLMENTS);
export type EnrollmentDocument = v.InferOutput<typeof EnrollmentDocument>;

const install = documentOf(INSTALLS);
/** The token is only in the answer that makes it. */
export const InstallDocument = v.object({ ...install.schema.entries, token: v.optional(v.string()) });
export type InstallDocument = v.InferOutput<typeof InstallDocument>;
export const installDocument = install.of;

export const { schema: TaskDocument, of: taskDocument } = documentOf(TASKS);
export type TaskDocument = v.InferOutput<typeof TaskDocument>;

export const { schema: LogDocument, of: logDocument } = documentOf(LOGS);
export type LogDocument = v.InferOutput<typeof LogDocument>;

export const { schema: UpdateDocument, of: updateDocument } = documentOf(UPDATE_TARGETS);
export type UpdateDocument = v.InferOutput<typeof UpdateDocument>;

export const { schema: TerminalDocument, of: terminalDocument } = documentOf(TERMINALS);
export type TerminalDocument = v.InferOutput<typeof TerminalDocument>;

/** The reason of a terminal that failed because the agent did not open it in time. The agent is not informed. */
export const TERMINAL_NOT_OPENED = "The agent did not open the terminal in time.";

/** A piece of a terminal's transcript; `payload` is base64. */
export const { schema: ChunkDocument, of: chunkDocument } = documentOf(CHUNKS);
export type ChunkDocument = v.InferOutput<typeof ChunkDocument>;

export const { schema: MetricDocument, of: metricDocument } = documentOf(METRICS);
export type MetricDocument = v.InferOutput<typeof MetricDocument>;

export const { schema: EventDocument, of: eventDocument } = documentOf(EVENTS);
export type EventDocument = v.InferOutput<typeof EventDocument>;
