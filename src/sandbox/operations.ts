// The operations of an operator, as functions; used by the REST routes, the tests and `dev`.
import { shortId } from "../lib/text.ts";
import type { Log } from "../platform/log.ts";
import type { RootProfile } from "../protocol/noderax/root-access.ts";
import { TERMINAL_COLS, TERMINAL_ROWS } from "../protocol/noderax/terminal.ts";
import {
  type ChunkDocument,
  type EnrollmentDocument,
  type EventDocument,
  type InstallDocument,
  type LogDocument,
  type MetricDocument,
  type NodeDocument,
  type TaskDocument,
  type TerminalDocument,
  type UpdateDocument,
  chunkDocument,
  enrollmentDocument,
  eventDocument,
  installDocument,
  logDocument,
  metricDocument,
  nodeDocument,
  taskDocument,
  terminalDocument,
  updateDocument,
} from "./documents.ts";
import { UnknownError } from "./http/api-error.ts";
import { type Approval, approve, expire, revoke } from "./noderax/enrollment.ts";
import { createInstall } from "./noderax/installs.ts";
import { cancelTask, createTask, logRows } from "./noderax/tasks.ts";
import { createUpdate } from "./noderax/updates.ts";
import { parseNode, parseProject } from "./caravanserai/manifest.ts";
import type { NodeResource, ProjectResource, Report } from "./caravanserai/resources.ts";
import type { Applied, CaraServer } from "./caravanserai/server.ts";
import type { Realtime } from "./realtime/realtime.ts";
import type { NodeRow, TaskRow, TerminalRow } from "./entities.ts";
import { type Store, isoNow } from "./store.ts";
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

export interface TerminalRequest {
  /** Id or name of the node. */
  readonly node: string;
  /** Default 120 × 34, as the original's web pages ask for. */
  readonly cols?: number | undefined;
  readonly rows?: number | undefined;
  readonly runAsRoot?: boolean | undefined;
  /** Leaves the check of the root profile to the agent. */
  readonly unchecked?: boolean | undefined;
}

/** An event for a viewer of a terminal: a chunk of the transcript when it is stored, or a change of the state. */
export type TerminalEvent =
  | { readonly kind: "chunk"; readonly chunk: ChunkDocument }
  | { readonly kind: "state"; readonly terminal: TerminalDocument };

export interface UpdateRequest {
  readonly node: string;
  readonly targetVersion: string;
  readonly rollback?: boolean | undefined;
}

/** Nodes are found by id or name, tasks and terminals by id or a unique prefix of it. Refusals are thrown as ApiError. */
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
  /** The latest samples of a node, oldest first; default 100. */
  metrics(node: string, limit?: number): MetricDocument[];
  /** 400 when the node is offline, 409 when root shells are not allowed there. */
  openTerminal(request: TerminalRequest): TerminalDocument;
  terminals(node?: string): TerminalDocument[];
  terminal(id: string): TerminalDocument;
  /** Sends keystrokes. 409 when the session has ended; the session fails when its agent is not connected. */
  typeInto(id: string, input: string | Uint8Array): TerminalDocument;
  resizeTerminal(id: string, cols: number, rows: number): TerminalDocument;
  stopTerminal(id: string, reason?: string): TerminalDocument;
  /** Input, output and system messages in order: after the sequence number `after`, at most `limit` chunks. */
  transcript(id: string, options?: { after?: number; limit?: number }): ChunkDocument[];
  /** Attaches a viewer until it is disposed; when the last one leaves, the session's grace begins. */
  watchTerminal(id: string, listener: (event: TerminalEvent) => void): Disposable;
  /** Cuts the sockets of the agents of one node or all, like a failing network. Returns their number. */
  disconnect(node?: string): number;
  /**
   * Makes or changes a project from a document as `apply` takes it. With `force` its spec is changed in place also while
   * it is Scheduled or Running. Throws InvalidManifest.
   */
  applyProject(document: unknown, options?: { force?: boolean }): Applied<ProjectResource>;
  projects(): ProjectResource[];
  project(name: string): ProjectResource;
  /** Undefined when the record was removed at once; else the project, Terminating. `force` removes any record. */
  deleteProject(name: string, options?: { force?: boolean }): ProjectResource | undefined;
  /** The reports about a project, oldest first; also about a removed one. */
  projectReports(name: string): Report[];
  /** Names of all projects since the start of the sandbox, removed ones included. */
  projectNames(): ReadonlySet<string>;
  /** Sets projects with a node to Terminating and removes the others. Returns the remaining ones. */
  terminateProjects(): ProjectResource[];
  caraNodes(): NodeResource[];
  caraNode(name: string): NodeResource;
  /** Registers or changes a node from a document. Throws InvalidManifest. */
  applyCaraNode(document: unknown): Applied<NodeResource>;
  deleteCaraNode(name: string): void;
  /** An unschedulable node gets no new projects. */
  setUnschedulable(name: string, unschedulable: boolean): NodeResource;
}

/** What operations need of the realtime side. */
export type RealtimeSide = Pick<Realtime, "terminals" | "send" | "cut" | "taskQueued">;

export interface OperationsPorts {
  readonly store: Store;
  readonly timings: Timings;
  readonly realtime: RealtimeSide;
  readonly cara: CaraServer;
  readonly log: Log;
}

export function operations({ store, timings, realtime, cara, log }: OperationsPorts): Operations {
  const { terminals } = realtime;
  const nodeRow = (idOrName: string): NodeRow => findNode(store, idOrName);
  const changeNode = (idOrName: string, change: Partial<NodeRow>): NodeDocument => {
    const node = nodeRow(idOrName);
    store.nodes.update(node.id, change);
    return nodeDocument({ ...node, ...change });
  };
  return {
    nodes: () => store.nodes.all().map(nodeDocument),
    node: (idOrName) => nodeDocument(nodeRow(idOrName)),
    deleteNode(idOrName) {
      const { id } = nodeRow(idOrName);
      terminals.abandon(id);
      store.nodes.delete("id = ?", id);
      realtime.cut(id);
    },
    setMaintenance: (idOrName, enabled) => changeNode(idOrName, { maintenance: enabled }),
    setRootAccess(idOrName, profile) {
      const rootAccess = { profile, updatedAt: isoNow() };
      const node = changeNode(idOrName, { rootProfile: profile, rootUpdatedAt: rootAccess.updatedAt });
      realtime.send(node.id, "root-access.updated", { type: "root-access.updated", rootAccess });
      return node;
    },
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
      log.info("sandbox", `${shortId(task.id)} queued for ${node}`, { type });
      realtime.taskQueued(task.nodeId);
      return taskDocument(task);
    },
    cancel: (taskId, reason) => taskDocument(cancelTask(store, findTask(store, taskId), reason)),
    logs: (taskId, options) => logRows(store, findTask(store, taskId).id, options).map(logDocument),
    createUpdate({ node, targetVersion, rollback = false }) {
      return updateDocument(createUpdate(store, nodeRow(node), { targetVersion, rollback }));
    },
    updates: () => store.updateTargets.all().map(updateDocument),
    events: () => store.events.all().map(eventDocument),
    metrics: (node, limit = METRICS_SHOWN) =>
      store.metrics
        .all("nodeId = ? ORDER BY rowid DESC LIMIT ?", nodeRow(node).id, limit)
        .map(metricDocument)
        .reverse(),
    openTerminal({
      node,
      cols = TERMINAL_COLS.usual,
      rows = TERMINAL_ROWS.usual,
      runAsRoot = false,
      unchecked,
    }) {
      return terminalDocument(terminals.open(nodeRow(node), { cols, rows, runAsRoot }, unchecked));
    },
    terminals(node) {
      const rows =
        node === undefined
          ? store.terminals.all("1 ORDER BY createdAt, rowid")
          : store.terminals.all("nodeId = ? ORDER BY createdAt, rowid", nodeRow(node).id);
      return rows.map(terminalDocument);
    },
    terminal: (id) => terminalDocument(findTerminal(store, id)),
    typeInto(id, input) {
      terminals.input(
        findTerminal(store, id),
        typeof input === "string" ? new TextEncoder().encode(input) : input,
      );
      return terminalDocument(findTerminal(store, id));
    },
    resizeTerminal: (id, cols, rows) =>
      terminalDocument(terminals.resize(findTerminal(store, id), { cols, rows })),
    stopTerminal: (id, reason) => terminalDocument(terminals.stop(findTerminal(store, id), reason ?? null)),
    transcript(id, { after = 0, limit = -1 } = {}) {
      const part = "sessionId = ? AND seq > ? ORDER BY seq LIMIT ?";
      return store.chunks.all(part, findTerminal(store, id).id, after, limit).map(chunkDocument);
    },
    watchTerminal: (id, listener) =>
      terminals.watch(findTerminal(store, id).id, (news) =>
        listener(
          news.kind === "chunk"
            ? { kind: "chunk", chunk: chunkDocument(news.chunk) }
            : { kind: "state", terminal: terminalDocument(news.terminal) },
        ),
      ),
    disconnect: (node) => realtime.cut(node === undefined ? undefined : nodeRow(node).id),
    applyProject: (document, options) => cara.applyProject(parseProject(document), options),
    projects: () => cara.projects(),
    project: (name) => cara.project(name),
    deleteProject: (name, options) => cara.deleteProject(name, options),
    projectReports: (name) => cara.reports(name),
    projectNames: () => cara.projectNames(),
    terminateProjects: () => cara.terminateAll(),
    caraNodes: () => cara.nodes(),
    caraNode: (name) => cara.node(name),
    applyCaraNode: (document) => cara.applyNode(parseNode(document)),
    deleteCaraNode: (name) => cara.deleteNode(name),
    setUnschedulable: (name, unschedulable) => cara.setUnschedulable(name, unschedulable),
  };
}

const METRICS_SHOWN = 100;

function findNode(store: Store, idOrName: string): NodeRow {
  const node = store.nodes.find("id = ? OR name = ? OR hostname = ?", idOrName, idOrName, idOrName);
  if (node) return node;
  throw new UnknownError(
    `no node is called ${JSON.stringify(idOrName)}`,
    store.nodes.all().map(({ name }) => name),
  );
}

/** Minimum length of an id prefix. */
const SHORTEST_PREFIX = 4;

function findTerminal(store: Store, id: string): TerminalRow {
  const exact = store.terminals.get(id);
  if (exact) return exact;
  const matches =
    id.length >= SHORTEST_PREFIX ? store.terminals.all("substr(id, 1, ?) = ?", id.length, id) : [];
  if (matches.length === 1 && matches[0]) return matches[0];
  const recent = store.terminals.all("1 ORDER BY createdAt DESC, rowid DESC LIMIT 5");
  throw new UnknownError(
    matches.length > 1
      ? `${id} begins the id of ${matches.length} terminals`
      : `no terminal has the id ${id}`,
    recent.map((terminal) => `${terminal.id} ${terminal.status}`),
  );
}

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
