// What was seen on Docker in one snapshot: the containers, networks, volumes and images of this machine.
import type { Role } from "./names.ts";

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

/** What a container that is not on record, or has no fingerprint, was made from. */
export interface MadeFrom {
  readonly env: readonly string[];
  /** "cara-shop-data:/data" */
  readonly mounts: readonly string[];
  /** Names of the networks it is on. */
  readonly networks: readonly string[];
  /** Whether Docker itself starts it again. */
  readonly restarts: boolean;
}

/** A container with our labels. */
export interface ObservedContainer {
  readonly id: string;
  readonly name: string;
  readonly service: string;
  /** Undefined for a name that we did not give it. */
  readonly role: Role | undefined;
  readonly state: ContainerState;
  /** As it was asked for: "nginx:1.27". */
  readonly image: string;
  /** Undefined when another agent made it. */
  readonly fingerprint: string | undefined;
  readonly made: MadeFrom | undefined;
  /** Ids of the networks it is on, and its address in each. */
  readonly networks: ReadonlyMap<string, string>;
  /** Of the steady clock: when a snapshot showed it in this state, or with this end, for the first time. */
  readonly since: number;
  /** Of one that ended. */
  readonly exit:
    | {
        readonly code: number;
        readonly oomKilled: boolean;
        readonly lastLines: string;
        /** It is known that nobody has stopped it. */
        readonly byItself: boolean;
      }
    | undefined;
}

/** The parts of one project. */
export interface ObservedProject {
  readonly containers: readonly ObservedContainer[];
  /** The id of its network; undefined when there is none. */
  readonly network: string | undefined;
  /** Names of its volumes. */
  readonly volumes: ReadonlySet<string>;
  /** Names among those it needs that containers of others hold, and who. */
  readonly taken: ReadonlyMap<string, string>;
  /** By id of a container or of the network, or by name of a volume: the node whose agent made it, where it says so. */
  readonly makers: ReadonlyMap<string, string>;
}
