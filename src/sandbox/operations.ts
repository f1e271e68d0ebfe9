// What an operator can do, as functions: the REST routes, the tests and `dev` all go through these.
import type { Log } from "../platform/log.ts";
import type { RootProfile } from "../protocol/noderax/root-access.ts";
import {
  type EnrollmentDocument,
  type EventDocument,
  type InstallDocument,
  type LogDocument,
  type NodeDocument,
  type TaskDocument,
  type UpdateDocument,
  enrollmentDocument,
  installDocument,
  logDocument,
  nodeDocument,
  taskDocument,
  updateDocument,
} from "./documents.ts";
import { ApiError } from "./http/api-error.ts";
import { type Approval, approve, expire, revoke } from "./noderax/enrollment.ts";
import { createInstall } from "./noderax/installs.ts";
import { cancelTask, createTask, logRows } from "./noderax/tasks.ts";
import { createUpdate } from "./noderax/updates.ts";
import { type NodeRow, type Store, type TaskRow, isoNow } from "./store.ts";
import type { Timings } from "./timings.ts";

export interface TaskRequest {
  /** Id or name of the node. */
  readonly node: string;
  /** Default "shell.exec". */
  readonly type?: string | undefined;
  readonly payload?: Record<string, unknown> | undefined;
  /** Skip the API's own root check, to see the agent refuse. */
  readonly unchecked?: boolean | undefined;
}

export interface UpdateRequest {
  readonly node: string;
  readonly targetVersion: string;
  readonly rollback?: boolean | undefined;
}

/** Nodes go by id or name, tasks by id or an unambiguous beginning of it. Refusals are thrown as ApiError. */
export interface Operations {
  nodes(): NodeDocument[];
  node(idOrName: string): NodeDocument;
  deleteNode(idOrName: string): void;
  setMaintenance(idOrName: string, enabled: boolean): NodeDocument;
  setRootAccess(idOrName: string, profile: RootProfile): NodeDocument;
  enrollments(): EnrollmentDocument[];
  approve(approval: Approval): NodeDocument;
  revokeEnrollment(tokenOrId: string): EnrollmentDocument;
  installs(): InstallDocument[];
  /** The only answer with the token in it. */
  createInstall(nodeName: string): InstallDocument & { token: string };
  tasks(node?: string): TaskDocument[];
  task(id: string): TaskDocument;
  createTask(request: TaskRequest): TaskDocument;
  cancel(taskId: string, reason?: string): TaskDocument;
  /** The first 100 rows, as operators of the real control plane see them, or all. */
  logs(taskId: string, options?: { all?: boolean }): LogDocument[];
  createUpdate(request: UpdateRequest): UpdateDocument;
  updates(): UpdateDocument[];
  events(): EventDocument[];
}

/** 404 that knows what there is instead. */
export class UnknownError extends ApiError {
  constructor(
    message: string,
    readonly known: readonly string[],
  ) {
    super(404, message);
  }
}

export function operations(store: Store, timings: Timings, log: Log): Operations {
  const nodeRow = (idOrName: string): NodeRow => findNode(store, idOrName);
  const changeNode = (idOrName: string, change: Partial<NodeRow>): NodeDocument => {
    const node = nodeRow(idOrName);
    store.nodes.update(node.id, change);
    return nodeDocument({ ...node, ...change });
  };
  return {
    nodes: () => store.nodes.all().map(nodeDocument),
    node: (idOrName) => nodeDocument(nodeRow(idOrName)),
    deleteNode: (idOrName) => store.nodes.delete("id = ?", nodeRow(idOrName).id),
    setMaintenance: (idOrName, enabled) => changeNode(idOrName, { maintenance: enabled }),
    setRootAccess: (idOrName, profile) =>
      changeNode(idOrName, { rootProfile: profile, rootUpdatedAt: isoNow() }),
    enrollments: () => store.enrollments.all().map((row) => enrollmentDocument(expire(store, row))),
    approve(approval) {
      const node = approve(store, approval);
      log.info("sandbox", `${node.name} approved`, { node_id: node.id });
      return nodeDocument(node);
    },
    revokeEnrollment: (tokenOrId) => enrollmentDocument(revoke(store, tokenOrId)),
    installs: () => store.installs.all().map(installDocument),
    createInstall(nodeName) {
      const install = createInstall(store, timings, nodeName);
      return { ...installDocument(install), token: install.token };
    },
    tasks(node) {
      const rows =
        node === undefined
          ? store.tasks.all("isInternal = 0 ORDER BY createdAt, rowid")
          : store.tasks.all("isInternal = 0 AND nodeId = ? ORDER BY createdAt, rowid", nodeRow(node).id);
      return rows.map(taskDocument);
    },
    task: (id) => taskDocument(findTask(store, id)),
    createTask({ node, type = "shell.exec", payload, unchecked }) {
      const task = createTask(store, { node: nodeRow(node), type, payload, unchecked });
      log.info("sandbox", `${task.id.slice(0, 8)} queued for ${node}`, { type });
      return taskDocument(task);
    },
    cancel: (taskId, reason) => taskDocument(cancelTask(store, findTask(store, taskId), reason)),
    logs: (taskId, options) => logRows(store, findTask(store, taskId).id, options).map(logDocument),
    createUpdate({ node, targetVersion, rollback = false }) {
      return updateDocument(createUpdate(store, nodeRow(node), { targetVersion, rollback }));
    },
    updates: () => store.updateTargets.all().map(updateDocument),
    events: () =>
      store.events.all().map(({ nodeId, type, createdAt }) => ({
        node_id: nodeId,
        type,
        created_at: createdAt,
      })),
  };
}

function findNode(store: Store, idOrName: string): NodeRow {
  const node = store.nodes.find("id = ? OR name = ? OR hostname = ?", idOrName, idOrName, idOrName);
  if (node) return node;
  throw new UnknownError(
    `no node is called ${JSON.stringify(idOrName)}`,
    store.nodes.all().map(({ name }) => name),
  );
}

/** How much of an id is enough to mean it. */
const SHORTEST_PREFIX = 4;

function findTask(store: Store, id: string): TaskRow {
  const exact = store.tasks.get(id);
  if (exact) return exact;
  const matches = id.length >= SHORTEST_PREFIX ? store.tasks.all("substr(id, 1, ?) = ?", id.length, id) : [];
  if (matches.length === 1 && matches[0]) return matches[0];
  const recent = store.tasks.all("isInternal = 0 ORDER BY createdAt DESC, rowid DESC LIMIT 5");
  throw new UnknownError(
    matches.length > 1 ? `${id} begins the id of ${matches.length} tasks` : `no task has the id ${id}`,
    recent.map((task) => `${task.id} ${task.type} ${task.status}`),
  );
}
