// Who holds which container name: a project whose name for a service is taken by somebody else cannot have that service. Pure.
import type { DesiredProject } from "../plan/desired.ts";
import type { Look } from "../plan/engine.ts";
import { containerName } from "../plan/names.ts";

export interface Holder {
  /** Undefined for a container that is not ours. */
  readonly of: { readonly project: string; readonly service: string } | undefined;
  /** For a message: "container 0123456789ab (nginx:1)". */
  readonly who: string;
}

/** By name of the container; made once per look, for all projects. */
export function holdersIn({
  projects,
  foreign,
}: Pick<Look, "projects" | "foreign">): ReadonlyMap<string, Holder> {
  const holders = new Map<string, Holder>();
  for (const [name, who] of foreign) holders.set(name, { of: undefined, who });
  for (const [project, { containers }] of projects)
    for (const { name, service, image, id } of containers)
      holders.set(name, {
        of: { project, service },
        who: `${describe(id, image)} of the project ${project}`,
      });
  return holders;
}

export const describe = (id: string, image: string): string => `container ${id.slice(0, 12)} (${image})`;

/**
 * By name of the service: who holds the name that its container must have. That may be another project of ours:
 * service "b-c" of project "a" and service "c" of project "a-b" want the same one.
 */
export function takenNames(
  { name: project, services }: Pick<DesiredProject, "name" | "services">,
  holders: ReadonlyMap<string, Holder>,
): ReadonlyMap<string, string> {
  const taken = new Map<string, string>();
  for (const { name: service } of services) {
    const holder = holders.get(containerName(project, service));
    const own = holder?.of?.project === project && holder.of.service === service;
    if (holder !== undefined && !own) taken.set(service, holder.who);
  }
  return taken;
}
