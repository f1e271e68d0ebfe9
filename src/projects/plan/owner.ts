// Decides whether the owner of the machine lets a service of a project run here. Pure.
import { fullReference } from "./images.ts";

export interface OwnerPolicy {
  /** False: nothing of any project is made or started. */
  readonly allowProjects: boolean;
  /** Where images may come from: "ghcr.io", "docker.io/library"; undefined: from anywhere. */
  readonly registries: readonly string[] | undefined;
}

/** Returns why the owner forbids a service with this image; undefined when it may run. */
export function forbiddenByOwner(
  image: string,
  { allowProjects, registries }: OwnerPolicy,
): string | undefined {
  if (!allowProjects) return "the owner of this machine forbids projects (allow_projects)";
  if (registries === undefined) return undefined;
  const reference = fullReference(image).toLowerCase();
  // With the slash: "ghcr.io" must not allow "ghcr.io.example.com".
  const isFrom = (registry: string): boolean =>
    reference.startsWith(`${registry.toLowerCase().replace(/\/+$/, "")}/`);
  if (registries.some(isFrom)) return undefined;
  const allowed = registries.length === 0 ? "from nowhere" : `only from ${registries.join(", ")}`;
  return `the owner of this machine allows images ${allowed}, not ${reference} (allow_registries)`;
}
