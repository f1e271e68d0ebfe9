// Turns a project of the server into what should exist on this machine: containers, volumes and fingerprints. Pure.
import { createHash } from "node:crypto";
import type { IngressSpec, Project, ServiceSpec } from "../../protocol/caravanserai/resources.ts";
import { networkName, volumeName } from "./names.ts";
import type { ContainerLimits } from "./owner.ts";

export interface DesiredMount {
  /** Docker's name of the volume. */
  readonly volume: string;
  readonly path: string;
  /** False for a volume that the spec does not declare: Docker creates it, and it is not removed with the project. */
  readonly declared: boolean;
}

export interface DesiredService {
  readonly name: string;
  readonly image: string;
  /** "NAME=value", in the order of the spec; the last one of a repeated name counts. */
  readonly env: readonly string[];
  readonly mounts: readonly DesiredMount[];
  /** An ingress rule leads to it: it is restarted also after it ended with 0. */
  readonly isServed: boolean;
  /** A hash of everything that the container is made from. */
  readonly fingerprint: string;
  /** Of the machine's owner; undefined: none. */
  readonly limits?: ContainerLimits;
  /** Why the owner does not let it run; undefined when it may. */
  readonly refusal?: string;
}

export interface DesiredProject {
  readonly name: string;
  readonly network: string;
  readonly services: readonly DesiredService[];
  /** Docker's names of the volumes. */
  readonly volumes: readonly string[];
  readonly ingress: readonly IngressSpec[];
  /** For people: the parts of the spec that are not carried out here, and why. */
  readonly warnings: readonly string[];
}

/**
 * A fault with which the project can still run becomes a warning. A mount whose volume is not declared, or has an unknown
 * type, uses the volume name that the Go agent gives it: otherwise a service would lose its data.
 */
export function desire({ metadata, spec }: Project): DesiredProject {
  const project = metadata.name;
  const warnings: string[] = [];
  const volumes = new Map<string, string>();
  for (const { name, type } of spec.volumes) {
    if (type === "Ephemeral") volumes.set(name, volumeName(project, name));
    else warnings.push(`volume ${name}: type "${type}" is unknown, its data is stored with Docker's default`);
  }
  const services = new Map<string, DesiredService>();
  const served = new Set(spec.ingress.map(({ target }) => target.service));
  for (const service of spec.services) {
    if (services.has(service.name))
      warnings.push(`service ${service.name} is listed twice, the last one counts`);
    const made = desireService(service, project, volumes, warnings);
    services.set(service.name, { ...made, isServed: served.has(service.name) });
  }
  return {
    name: project,
    network: networkName(project),
    services: [...services.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    volumes: [...volumes.values()].sort(),
    ingress: spec.ingress,
    warnings,
  };
}

function desireService(
  { name, image, env, volumeMounts }: ServiceSpec,
  project: string,
  volumes: ReadonlyMap<string, string>,
  warnings: string[],
): Omit<DesiredService, "isServed"> {
  const variables = new Map(env.map((one) => [one.name, `${one.name}=${one.value}`]));
  const mounts = new Map<string, DesiredMount>();
  for (const { name: mounted, mountPath } of volumeMounts) {
    const volume = volumeName(project, mounted);
    const declared = volumes.has(mounted);
    if (!declared)
      warnings.push(
        `service ${name}: volume ${mounted} is not declared; ${volume} is used, and is not removed with the project`,
      );
    mounts.set(mountPath, { volume, path: mountPath, declared });
  }
  const made = {
    name,
    image,
    env: [...variables.values()],
    mounts: [...mounts.values()].sort((a, b) => (a.path < b.path ? -1 : 1)),
  };
  return { ...made, fingerprint: fingerprint(made) };
}

/** The variables are sorted: their order does not matter to a container. */
function fingerprint({ name, image, env, mounts }: Omit<DesiredService, "fingerprint" | "isServed">): string {
  const parts = ["1", name, image, [...env].sort(), mounts.map(({ volume, path }) => [volume, path])];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32);
}
