// What one snapshot shows of one project. Pure.
import type { DesiredProject } from "../plan/desired.ts";
import type { Snapshot } from "../plan/engine.ts";
import { containerName } from "../plan/names.ts";
import type { ObservedProject } from "../plan/observed.ts";

const NOTHING: ObservedProject = {
  containers: [],
  network: undefined,
  volumes: new Set(),
  taken: new Map(),
  makers: new Map(),
};

/** With the names that its services need and somebody else holds: a stranger, or another project of this node. */
export function observedIn(
  snapshot: Snapshot,
  project: string,
  desired: DesiredProject | undefined,
): ObservedProject {
  const own = snapshot.projects.get(project) ?? NOTHING;
  const taken = new Map<string, string>();
  for (const { name: service } of desired?.services ?? []) {
    const holder = holderOf(containerName(project, service), snapshot, project);
    if (holder !== undefined) taken.set(service, holder);
  }
  return { ...own, taken };
}

/** "a" with "b-c" and "a-b" with "c" want the same name; Docker gives it to the first. */
function holderOf(name: string, snapshot: Snapshot, project: string): string | undefined {
  const stranger = snapshot.foreign.get(name);
  if (stranger !== undefined) return stranger;
  for (const [other, { containers }] of snapshot.projects) {
    if (other !== project && containers.some((one) => one.name === name)) return `project ${other}`;
  }
  return undefined;
}
