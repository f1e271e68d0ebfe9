// What the projects need of the Docker Engine. `docker.ts` implements it, and is the only file that knows dockerode.
//
// Whatever fails here throws an AgentError: `docker.away` (no socket, refused, daemon restarting, no answer in time),
// `docker.forbidden` (permission), `docker.version` (API too old or too new), `docker.full` (no space left),
// `docker.refused` (the daemon's own words about one request; `status` is its HTTP status), `docker.gone` (404 about
// the thing that was named). Away, forbidden and version say nothing about containers: they are unknown then, not gone.
import type { Duration } from "../../lib/duration.ts";
import type { DesiredService } from "./desired.ts";
import type { ContainerState, ObservedProject } from "./observed.ts";
import type { Role } from "./names.ts";
import type { Unowned } from "./ownership.ts";

/** Everything on this machine that carries our labels, and what of others is in the way. */
export interface Look {
  /** By name of the project; of every project of which anything is there. */
  readonly projects: ReadonlyMap<string, ObservedProject>;
  /** Names of containers that are not ours → who holds them, for a message: "container 0123456789ab (nginx:1)". */
  readonly foreign: ReadonlyMap<string, string>;
  /** By name of a project: what carries its labels and is not ours (see ownership.ts). */
  readonly unowned: ReadonlyMap<string, Unowned>;
  /** Full references of all images that are here. */
  readonly images: ReadonlySet<string>;
  /** Of the steady clock, taken before the first question was asked. */
  readonly at: number;
}

export interface EngineInfo {
  /** "28.2.2" */
  readonly version: string;
  readonly apiVersion: string;
  /** Where it keeps its data: the disk that fills up. */
  readonly root: string;
}

/** Something happened to a thing with our labels; a hint to look. */
export interface EngineEvent {
  readonly project: string;
  readonly action: string;
}

/** The container that serves now, whatever its state. */
export interface ServiceContainer {
  readonly id: string;
  readonly state: ContainerState;
  /** On its project's network, IPv4 before IPv6; empty while it has none there. */
  readonly addresses: readonly string[];
}

export interface LogQuery {
  /** Goes on with what is written from now, until the container ends. */
  readonly follow: boolean;
  /** The last so many lines of what there is. */
  readonly tail: number | "all";
  /** Each line begins with the time at which it was written. */
  readonly timestamps: boolean;
  /** Seconds since the epoch, with fractions. */
  readonly since?: number;
}

export interface PullProgress {
  /** "12 of 48 MB", "extracting". */
  readonly text: string;
}

export interface Engine {
  /** Asks for version and API version and settles on one both know. */
  info(signal: AbortSignal): Promise<EngineInfo>;
  /** One listing each of containers, networks, volumes, images; inspects only what ended, and what another agent made. */
  look(signal: AbortSignal): Promise<Look>;
  /** Resolves when the stream ends, whyever; throws when it could not be opened. */
  events(onEvent: (event: EngineEvent) => void, signal: AbortSignal): Promise<void>;
  /** One question. Undefined when no container that carries our labels, and no other's name, serves it. */
  findService(project: string, service: string, signal: AbortSignal): Promise<ServiceContainer | undefined>;
  /**
   * stdout and stderr as they come, Docker's frame headers taken off; of a container with a terminal as it is. Read no
   * faster than it is asked for. `signal`, or leaving the iteration, closes Docker's stream at once.
   */
  logs(id: string, query: LogQuery, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
  /** Resolves with its id. */
  createNetwork(project: string, name: string, signal: AbortSignal): Promise<string>;
  createVolume(project: string, name: string, signal: AbortSignal): Promise<void>;
  /**
   * Made under the name of its role, on the project's network with the service's name as alias, with our labels.
   * Resolves with its id.
   */
  createContainer(
    project: string,
    service: DesiredService,
    role: Role,
    network: string,
    signal: AbortSignal,
  ): Promise<string>;
  startContainer(id: string, signal: AbortSignal): Promise<void>;
  /** SIGTERM, `grace`, SIGKILL. One that does not run is fine. */
  stopContainer(id: string, grace: Duration, signal: AbortSignal): Promise<void>;
  unpauseContainer(id: string, signal: AbortSignal): Promise<void>;
  renameContainer(id: string, name: string, signal: AbortSignal): Promise<void>;
  /** By force, with its anonymous volumes. One that is gone is fine, as for network and volume. */
  removeContainer(id: string, signal: AbortSignal): Promise<void>;
  connectNetwork(id: string, network: string, alias: string, signal: AbortSignal): Promise<void>;
  removeNetwork(id: string, signal: AbortSignal): Promise<void>;
  removeVolume(name: string, signal: AbortSignal): Promise<void>;
  /**
   * Pulls with the credentials of the Docker configuration of the agent's user. Throws `pull.unauthorized`,
   * `pull.unknown` (no such image or tag), `pull.stalled` (nothing happened for `idle`), `pull.failed`, or one of the
   * above; errors from inside the progress stream too.
   */
  pull(
    image: string,
    onProgress: (progress: PullProgress) => void,
    idle: Duration,
    signal: AbortSignal,
  ): Promise<void>;
}
