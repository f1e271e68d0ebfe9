// Applies the word of the machine's owner to a project: what may run here at all, and with how much of the machine. Pure.
import { createHash } from "node:crypto";
import { MIB, formatSize } from "../../lib/size.ts";
import type { DesiredProject, DesiredService } from "./desired.ts";
import { fullReference } from "./images.ts";

/** Undefined: no limit. */
export interface ContainerLimits {
  /** Bytes, without swap. */
  readonly memory?: number | undefined;
  /** Percent of one core. */
  readonly cpu?: number | undefined;
  /** Processes and threads. */
  readonly pids?: number | undefined;
}

export interface OwnerPolicy {
  /** False: nothing of any project is made or started. */
  readonly allowProjects: boolean;
  /** Where images may come from: "ghcr.io", "docker.io/library"; undefined: from anywhere. */
  readonly registries: readonly string[] | undefined;
  /** Of each container. */
  readonly container: ContainerLimits;
  /** Of all containers of a project together. */
  readonly project: ContainerLimits;
}

/** For each limit: its settings, what people call it, and the least with which a container can start. */
const LIMITS = [
  {
    key: "memory",
    setting: "memory_max",
    least: 6 * MIB,
    text: (bytes: number) => `${formatSize(bytes)} of memory`,
  },
  { key: "cpu", setting: "cpu_quota", least: 1, text: (percent: number) => `${percent} % of a core` },
  { key: "pids", setting: "pids_max", least: 1, text: (count: number) => `${count} processes` },
] as const;

/**
 * Returns the project with the owner's limits in each service, or with a `refusal` in those that may not run. A limit of the
 * project is checked against those of its containers; where containers have none, each gets an equal share.
 */
export function applyOwnerPolicy(desired: DesiredProject, owner: OwnerPolicy): DesiredProject {
  const { limits, refusal } = limitsOf(desired.services.length, owner);
  const services = desired.services.map((service) => {
    const why = forbiddenBy(owner, service.image) ?? refusal;
    return why === undefined ? withLimits(service, limits) : { ...service, refusal: why };
  });
  return { ...desired, services };
}

function forbiddenBy({ allowProjects, registries }: OwnerPolicy, image: string): string | undefined {
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

function limitsOf(
  count: number,
  { container, project }: OwnerPolicy,
): { readonly limits: ContainerLimits; readonly refusal?: string } {
  const limits: Record<string, number> = {};
  for (const { key, setting, least, text } of LIMITS) {
    const most = project[key];
    const limit = container[key] ?? (most === undefined ? undefined : Math.floor(most / count));
    if (limit === undefined) continue;
    limits[key] = limit;
    if (most === undefined || (limit * count <= most && limit >= least)) continue;
    const each = container[key] === undefined ? "at least " : "";
    const needed = text(container[key] ?? least);
    return {
      limits: {},
      refusal:
        `the owner of this machine allows a project ${text(most)} (project_${setting}), ` +
        `too little for ${count} containers with ${each}${needed} each (container_${setting})`,
    };
  }
  return { limits };
}

/** Other limits make another fingerprint: the container is replaced. Without limits it is what it was before there were any. */
function withLimits(service: DesiredService, limits: ContainerLimits): DesiredService {
  if (Object.keys(limits).length === 0) return service;
  const parts = LIMITS.map(({ key }) => limits[key] ?? null);
  const hash = createHash("sha256").update(JSON.stringify([service.fingerprint, parts]));
  return { ...service, limits, fingerprint: hash.digest("hex").slice(0, 32) };
}
