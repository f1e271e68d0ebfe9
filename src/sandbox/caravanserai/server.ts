// The Caravanserai server in miniature: nodes, projects, and a scheduler that runs over all of them
// periodically and at once after a change.
import type { Duration } from "../../lib/duration.ts";
import type { Log } from "../../platform/log.ts";
import type { ProjectPhase } from "../../protocol/caravanserai/resources.ts";
import { conflict } from "../http/api-error.ts";
import type { CaraNodeRow, ProjectRow } from "../entities.ts";
import type { Store } from "../store.ts";
import type { Timings } from "../timings.ts";
import { onPass } from "./lifecycle.ts";
import type { HeartbeatDocument, NodeManifest, ProjectManifest, StatusReport } from "./manifest.ts";
import { changeNode, dropSilentNodes, findCaraNode, storeHeartbeat, registerNode } from "./nodes.ts";
import {
  changeProject,
  createProject,
  deleteProject,
  findProject,
  listProjects,
  takeReport,
} from "./projects.ts";
import {
  type NodeResource,
  type ProjectResource,
  type Report,
  nodeResource,
  projectResource,
} from "./resources.ts";

export interface Applied<R> {
  readonly result: "created" | "changed" | "unchanged";
  readonly resource: R;
}

/** Refusals are thrown as ApiError. Changes are seen by the scheduler just after the call. */
export interface CaraServer {
  nodes(): NodeResource[];
  node(name: string): NodeResource;
  registerNode(manifest: NodeManifest): NodeResource;
  changeNode(manifest: NodeManifest): NodeResource;
  applyNode(manifest: NodeManifest): Applied<NodeResource>;
  /** Whether it gets new projects. */
  setUnschedulable(name: string, unschedulable: boolean): NodeResource;
  deleteNode(name: string): void;
  heartbeat(name: string, document: HeartbeatDocument): void;
  projects(filter?: {
    readonly phases?: readonly ProjectPhase[];
    readonly nodeRef?: string | undefined;
  }): ProjectResource[];
  project(name: string): ProjectResource;
  createProject(manifest: ProjectManifest): ProjectResource;
  changeProject(manifest: ProjectManifest, options?: { readonly force?: boolean }): ProjectResource;
  /** Creates or changes a project; replaces one that is Terminated. */
  applyProject(manifest: ProjectManifest, options?: { readonly force?: boolean }): Applied<ProjectResource>;
  /** Undefined when the record was removed; else the project, Terminating. */
  deleteProject(name: string, options?: { readonly force?: boolean }): ProjectResource | undefined;
  report(name: string, report: StatusReport): void;
  /** The reports about a project, oldest first; also about a removed one. */
  reports(name: string): Report[];
  /** Names of all projects since the start of the server; the latest, if there were very many. */
  projectNames(): ReadonlySet<string>;
  /** Sets projects with a node to Terminating, in any phase, and removes the others. */
  terminateAll(): ProjectResource[];
  /** Applies changed timings. */
  restart(): void;
  stop(): void;
}

/** `paused`: while the database is down, nothing is scheduled and no node is set to NotReady. */
export function caraServer(store: Store, timings: Timings, paused: () => boolean, log: Log): CaraServer {
  let timers: NodeJS.Timeout[] = [];
  let nudged: NodeJS.Immediate | undefined;
  const names = new Set(listProjects(store).map(({ name }) => name));

  const nudge = (): void => {
    nudged ??= setImmediate(() => {
      nudged = undefined;
      pass();
    });
  };
  const seen = <T>(value: T): T => {
    nudge();
    return value;
  };

  function pass(): void {
    if (paused()) return;
    const nodes = new Map(store.caraNodes.all().map((node) => [node.name, node]));
    // A project that lost its node may go to another one in the same pass.
    for (const project of listProjects(store)) advance(advance(project, nodes), nodes);
  }

  /** Undefined when the record was removed. */
  function advance(
    project: ProjectRow | undefined,
    nodes: ReadonlyMap<string, CaraNodeRow>,
  ): ProjectRow | undefined {
    const change = project && onPass(project, nodes, timings, Date.now());
    if (project === undefined || change === undefined) return project;
    if (change === "remove") {
      store.projects.delete("name = ?", project.name);
      log.info("sandbox", `project ${project.name} removed`);
      return undefined;
    }
    store.projects.update(project.name, change);
    const next = { ...project, ...change };
    if (next.phase !== project.phase) tell(next);
    return next;
  }

  const tell = ({ name, phase, nodeRef }: ProjectRow): void =>
    log.info("sandbox", `project ${name} is ${phase}${nodeRef === "" ? "" : ` on ${nodeRef}`}`);

  function checkNodes(): void {
    if (paused()) return;
    for (const name of dropSilentNodes(store, timings.nodeSilence)) {
      log.info("sandbox", `node ${name} is NotReady`);
      nudge();
    }
  }

  const every = (interval: Duration, round: () => void): NodeJS.Timeout => setInterval(round, interval);
  const stop = (): void => {
    for (const timer of timers) clearInterval(timer);
    timers = [];
    clearImmediate(nudged);
    nudged = undefined;
  };

  const server: CaraServer = {
    nodes: () => store.caraNodes.all("1 ORDER BY name").map(nodeResource),
    node: (name) => nodeResource(findCaraNode(store, name)),
    registerNode: (manifest) => seen(nodeResource(registerNode(store, manifest))),
    changeNode: (manifest) => seen(nodeResource(changeNode(store, manifest))),
    applyNode(manifest) {
      const before = store.caraNodes.get(manifest.name);
      if (!before) return { result: "created", resource: server.registerNode(manifest) };
      const resource = server.changeNode(manifest);
      return { result: sameResource(nodeResource(before), resource) ? "unchanged" : "changed", resource };
    },
    setUnschedulable(name, unschedulable) {
      store.caraNodes.save({ ...findCaraNode(store, name), unschedulable });
      return seen(server.node(name));
    },
    deleteNode(name) {
      findCaraNode(store, name);
      store.caraNodes.delete("name = ?", name);
      nudge();
    },
    heartbeat(name, document) {
      const before = store.caraNodes.get(name)?.state;
      const { state } = storeHeartbeat(store, name, document);
      if (state === before) return;
      log.info("sandbox", `node ${name} is ${state}`);
      nudge();
    },
    projects: (filter) => listProjects(store, filter).map(projectResource),
    project: (name) => projectResource(findProject(store, name)),
    createProject(manifest) {
      const resource = projectResource(createProject(store, manifest));
      remember(names, manifest.name);
      return seen(resource);
    },
    changeProject: (manifest, { force = false } = {}) =>
      seen(projectResource(changeProject(store, manifest, force))),
    applyProject(manifest, options) {
      const before = store.projects.get(manifest.name);
      if (before?.phase === "Terminating") throw conflict(`project "${manifest.name}" is still Terminating`);
      if (before?.phase === "Terminated") store.projects.delete("name = ?", manifest.name);
      if (!before || before.phase === "Terminated")
        return { result: "created", resource: server.createProject(manifest) };
      const resource = server.changeProject(manifest, options);
      return { result: sameResource(projectResource(before), resource) ? "unchanged" : "changed", resource };
    },
    deleteProject(name, { force = false } = {}) {
      const row = deleteProject(store, name, force);
      if (row) tell(row);
      else log.info("sandbox", `project ${name} removed`);
      return seen(row && projectResource(row));
    },
    report(name, report) {
      const before = findProject(store, name).phase;
      const after = takeReport(store, name, report);
      if (after.phase !== before) tell(after);
      nudge();
    },
    reports: (name) =>
      store.reports
        .all("project = ? ORDER BY rowid", name)
        .map(({ phase, reason, message, at }) => ({ phase, reason, message, at })),
    projectNames: () => names,
    terminateAll() {
      const now = new Date().toISOString();
      for (const project of listProjects(store)) {
        const { name, phase, nodeRef } = project;
        if (nodeRef === "" || phase === "Terminated") store.projects.delete("name = ?", name);
        else if (phase !== "Terminating")
          store.projects.update(name, { phase: "Terminating", phaseSince: now, strandedSince: null });
      }
      return server.projects();
    },
    restart() {
      stop();
      timers = [every(timings.projectPass, pass), every(timings.nodeCheck, checkNodes)];
      nudge();
    },
    stop,
  };
  return server;
}

const NAMES_KEPT = 10_000;

function remember(names: Set<string>, name: string): void {
  names.delete(name);
  names.add(name);
  for (const oldest of names) {
    if (names.size <= NAMES_KEPT) return;
    names.delete(oldest);
  }
}

/** Nothing changed but the time of the change. */
function sameResource(
  before: NodeResource | ProjectResource,
  after: NodeResource | ProjectResource,
): boolean {
  const essence = ({ metadata, spec, status }: NodeResource | ProjectResource): string =>
    JSON.stringify([metadata.labels, metadata.annotations, spec, "phase" in status ? status.phase : null]);
  return essence(before) === essence(after);
}
