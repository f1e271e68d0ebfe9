// The observed state of one project: its containers, network and volumes in one snapshot. Pure.
import type { SteadyTime } from "../../lib/clock.ts";
import type { DesiredProject } from "./desired.ts";
import type { Snapshot } from "./engine.ts";
import { type Role, containerName } from "./names.ts";

export const CONTAINER_STATES = [
  "created",
  "running",
  "paused",
  "restarting",
  "removing",
  "exited",
  "dead",
] as const;
export type ContainerState = (typeof CONTAINER_STATES)[number];

/** What a container was made from; read only of one that is not on record or has no fingerprint. */
export interface MadeFrom {
  readonly env: readonly string[];
  /** "cara-shop-data:/data" */
  readonly mounts: readonly string[];
  /** Names of its networks. */
  readonly networks: readonly string[];
  /** Whether it has a restart policy of Docker. */
  readonly restarts: boolean;
}

/** A container with our labels. */
export interface ObservedContainer {
  readonly id: string;
  readonly name: string;
  readonly service: string;
  /** Undefined for a name that the agent does not use. */
  readonly role: Role | undefined;
  readonly state: ContainerState;
  /** As in the request that created it: "nginx:1.27". */
  readonly image: string;
  /** Undefined when the Go agent created it. */
  readonly fingerprint: string | undefined;
  readonly made: MadeFrom | undefined;
  /** Its address by id of the network. */
  readonly networks: ReadonlyMap<string, string>;
  /** When a snapshot showed it in this state, or with this end, for the first time. */
  readonly since: SteadyTime;
  /** Undefined unless it ended. */
  readonly exit:
    | {
        readonly code: number;
        readonly oomKilled: boolean;
        readonly lastLines: string;
        /** True when it is known that nobody stopped it. */
        readonly byItself: boolean;
      }
    | undefined;
}

/** What exists of one project. */
export interface ObservedProject {
  readonly containers: readonly ObservedContainer[];
  /** The id of its network; undefined when there is none. */
  readonly network: string | undefined;
  /** Names of its volumes. */
  readonly volumes: ReadonlySet<string>;
  /** By service: who holds the container name that it needs, when that is not this project. */
  readonly taken: ReadonlyMap<string, string>;
  /** By id of a container or of the network, or by name of a volume: the node in its label, where it has one. */
  readonly makers: ReadonlyMap<string, string>;
}

const NOTHING: ObservedProject = {
  containers: [],
  network: undefined,
  volumes: new Set(),
  taken: new Map(),
  makers: new Map(),
};

/**
 * What a snapshot shows of one project, empty when nothing exists. `taken` has the container names that its services need
 * and that another project of this node, or a container that is not ours, holds.
 */
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

/** Project "a" with service "b-c" and project "a-b" with service "c" need the same name; the first one gets it. */
function holderOf(name: string, snapshot: Snapshot, project: string): string | undefined {
  const foreign = snapshot.foreign.get(name);
  if (foreign !== undefined) return foreign;
  for (const [other, { containers }] of snapshot.projects) {
    if (other !== project && containers.some((one) => one.name === name)) return `project ${other}`;
  }
  return undefined;
}
