// What a project of the server means on this machine: containers, volumes and their fingerprints. Pure.
import { createHash } from "node:crypto";
import type { IngressSpec, Project, ServiceSpec } from "../../protocol/caravanserai/resources.ts";
import { networkName, volumeName } from "./names.ts";

export interface DesiredMount {
  /** Docker's name of the volume. */
  readonly volume: string;
  readonly path: string;
  /** False for a volume that the spec does not declare: Docker makes it, and nobody removes it with the project. */
  readonly declared: boolean;
}

export interface DesiredService {
  readonly name: string;
  readonly image: string;
  /** "NAME=value", in the order of the spec; of a name that stands twice the last one counts. */
  readonly env: readonly string[];
  readonly mounts: readonly DesiredMount[];
  /** The ingress leads to it: it is started again also when it ends well. */
  readonly stays: boolean;
  /** Changes when anything changes that the container is made from, and only then. */
  readonly fingerprint: string;
}

export interface DesiredProject {
  readonly name: string;
  readonly network: string;
  readonly services: readonly DesiredService[];
  /** Docker's names of the volumes. */
  readonly volumes: readonly string[];
  readonly ingress: readonly IngressSpec[];
  /** For people: what of the spec is not done here, and why. */
  readonly warnings: readonly string[];
}

/**
 * What is wrong with a project is a warning where it can run all the same. A mount whose volume is not declared, or is of
 * an unknown type, is bound under the name that the other agent gives it: without it a service would lose its data.
 */
export function desire({ metadata, spec }: Project): DesiredProject {
  const project = metadata.name;
  const warnings: string[] = [];
  const volumes = new Map<string, string>();
  for (const { name, type } of spec.volumes) {
    if (type === "Ephemeral") volumes.set(name, volumeName(project, name));
    else
      warnings.push(
        `volume ${name}: type "${type}" is not known here, its data is kept with Docker's default`,
      );
  }
  const services = new Map<string, DesiredService>();
  const served = new Set(spec.ingress.map(({ target }) => target.service));
  for (const service of spec.services) {
    if (services.has(service.name))
      warnings.push(`service ${service.name} stands twice, the last one counts`);
    const made = desireService(service, project, volumes, warnings);
    services.set(service.name, { ...made, stays: served.has(service.name) });
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
): Omit<DesiredService, "stays"> {
  const variables = new Map(env.map((one) => [one.name, `${one.name}=${one.value}`]));
  const mounts = new Map<string, DesiredMount>();
  for (const { name: wanted, mountPath } of volumeMounts) {
    const volume = volumeName(project, wanted);
    const declared = volumes.has(wanted);
    if (!declared)
      warnings.push(
        `service ${name}: volume ${wanted} is not declared; ${volume} is used, and stays when the project is removed`,
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

/** The order of variables does not matter to a container, so it does not to its fingerprint. */
function fingerprint({ name, image, env, mounts }: Omit<DesiredService, "fingerprint" | "stays">): string {
  const parts = ["1", name, image, [...env].sort(), mounts.map(({ volume, path }) => [volume, path])];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32);
}
