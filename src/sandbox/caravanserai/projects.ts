// The Caravanserai server's projects: created, changed and removed by operators, reported by agents.
import { isDeepStrictEqual } from "node:util";
import type { ProjectPhase } from "../../protocol/caravanserai/resources.ts";
import { UnknownError, conflict } from "../http/api-error.ts";
import type { ProjectRow, ReportRow } from "../entities.ts";
import { type Store, isoNow } from "../store.ts";
import { isChangeable, onDelete, onReport } from "./lifecycle.ts";
import type { ProjectManifest, StatusReport } from "./manifest.ts";

export function findProject(store: Store, name: string): ProjectRow {
  const project = store.projects.get(name);
  if (project) return project;
  throw new UnknownError(
    `project "${name}" not found`,
    store.projects.all("1 ORDER BY name").map(({ name }) => name),
  );
}

/** Filters are joined by AND, the phases among themselves by OR. */
export function listProjects(
  store: Store,
  {
    phases = [],
    nodeRef,
  }: { readonly phases?: readonly ProjectPhase[]; readonly nodeRef?: string | undefined } = {},
): ProjectRow[] {
  const conditions = [
    phases.length > 0 ? `phase IN (${phases.map(() => "?").join(", ")})` : "1",
    nodeRef === undefined ? "1" : "nodeRef = ?",
  ];
  const values = [...phases, ...(nodeRef === undefined ? [] : [nodeRef])];
  return store.projects.all(`${conditions.join(" AND ")} ORDER BY name`, ...values);
}

/** 409 when there is one of that name. */
export function createProject(store: Store, manifest: ProjectManifest): ProjectRow {
  if (store.projects.get(manifest.name)) throw conflict(`project "${manifest.name}" already exists`);
  return store.projects.insert({
    ...manifest,
    phase: "Pending",
    nodeRef: "",
    conditions: [],
    phaseSince: isoNow(),
    strandedSince: null,
    createdAt: isoNow(),
    updatedAt: null,
  });
}

/**
 * Another spec is taken while the project is Pending or Failed, 409 else. Nothing but the spec changes: a Failed one stays
 * Failed, on its node. With `force` — the sandbox's own — also while it is Scheduled or Running.
 */
export function changeProject(store: Store, manifest: ProjectManifest, force = false): ProjectRow {
  const project = findProject(store, manifest.name);
  const { phase } = project;
  const mayForce = force && (phase === "Scheduled" || phase === "Running");
  if (!isDeepStrictEqual(project.spec, manifest.spec) && !isChangeable(project) && !mayForce) {
    throw conflict(
      `project "${manifest.name}" is ${phase}: its spec can be changed only while it is Pending or Failed`,
    );
  }
  return store.projects.save({ ...project, ...manifest, updatedAt: isoNow() });
}

/** Returns the new row, or undefined when the record was removed. */
export function deleteProject(store: Store, name: string, force: boolean): ProjectRow | undefined {
  const project = findProject(store, name);
  const change = onDelete(project, force, Date.now());
  if (change !== "remove") return store.projects.save({ ...project, ...change });
  store.projects.delete("name = ?", name);
  return undefined;
}

/** Reports kept; older ones are deleted. */
const REPORTS_KEPT = 1_000;

/** 404 when the project does not exist. */
export function takeReport(store: Store, name: string, report: StatusReport): ProjectRow {
  const project = findProject(store, name);
  const change = onReport(project, report, Date.now());
  const row: ReportRow = {
    id: crypto.randomUUID(),
    project: name,
    ...report,
    at: isoNow(),
  };
  store.reports.insert(row);
  store.reports.delete(
    "rowid IN (SELECT rowid FROM cara_reports WHERE project = ? ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
    name,
    REPORTS_KEPT,
  );
  return store.projects.save({ ...project, ...change });
}
