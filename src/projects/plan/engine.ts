// The port to the container engine: what projects need of it. `projects/docker/engine.ts` implements it for Docker.
//
// Every call throws an AgentError: `docker.away` (no socket, connection refused, daemon restarting, no answer in time),
// `docker.forbidden` (permission), `docker.version` (API too old or too new), `docker.full` (no space left),
// `docker.refused` (any other error answer, with the daemon's message; `status` is its HTTP status), `docker.gone` (404 for
// the object of the call). The first three say nothing about containers: their state is unknown, not missing.
import type { SteadyTime } from "../../lib/clock.ts";
import type { Duration } from "../../lib/duration.ts";
import type { DesiredService } from "./desired.ts";
import type { ContainerState, ObservedProject } from "./observed.ts";
import type { Role } from "./names.ts";
import type { Unowned } from "./ownership.ts";

/** Everything on this machine that carries our labels, and the containers of others whose names may be in the way. */
export interface Snapshot {
  /** By name; every project of which anything exists. */
  readonly projects: ReadonlyMap<string, ObservedProject>;
  /** Names of containers that are not ours, with a description for messages: "container 0123456789ab (nginx:1)". */
  readonly foreign: ReadonlyMap<string, string>;
  /** By name of a project: what carries its labels and is not ours (see ownership.ts). */
  readonly unowned: ReadonlyMap<string, Unowned>;
  /** Full references of all images on this machine. */
  readonly images: ReadonlySet<string>;
  /** When it was started: a change after this time may be missing. */
  readonly at: SteadyTime;
}

export interface EngineInfo {
  /** "28.2.2" */
  readonly version: string;
  readonly apiVersion: string;
  /** Directory of the engine's data: its disk is the one that fills up. */
  readonly root: string;
}

/** Something with our labels changed: a reason to take a snapshot. */
export interface EngineEvent {
  readonly project: string;
  readonly action: string;
}

/** The container that serves now, in whatever state. */
export interface ServiceContainer {
  readonly id: string;
  readonly state: ContainerState;
  /** On its project's network, IPv4 before IPv6; empty while it has none there. */
  readonly addresses: readonly string[];
}

export interface LogQuery {
  /** Continues with new lines until the container ends. */
  readonly follow: boolean;
  /** Number of existing lines, from the end. */
  readonly tail: number | "all";
  /** Starts each line with the time at which it was written. */
  readonly timestamps: boolean;
  /** Seconds since the epoch, with fractions. */
  readonly since?: number;
}

export interface PullProgress {
  /** "12 of 48 MB", "extracting". */
  readonly text: string;
}

export interface EngineReads {
  /** Negotiates the API version again and resolves with the engine's version. */
  info(signal: AbortSignal): Promise<EngineInfo>;
  /**
   * Lists containers, networks, volumes and images. Inspects only containers that ended, that another agent made, or whose
   * end an event reported before the list shows it.
   */
  snapshot(signal: AbortSignal): Promise<Snapshot>;
  /** One call. Resolves with undefined when no container of ours with the labels and name of the service exists. */
  findService(project: string, service: string, signal: AbortSignal): Promise<ServiceContainer | undefined>;
}

export interface EngineChanges {
  /** Resolves with its id. */
  createNetwork(project: string, name: string, signal: AbortSignal): Promise<string>;
  createVolume(project: string, name: string, signal: AbortSignal): Promise<void>;
  /**
   * Creates it under the name of its role, with our labels, on the project's network with the service's name as alias.
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
  /** Sends SIGTERM and, after `grace`, SIGKILL. Does nothing when it does not run or does not exist. */
  stopContainer(id: string, grace: Duration, signal: AbortSignal): Promise<void>;
  /** Does nothing when it is not paused. */
  unpauseContainer(id: string, signal: AbortSignal): Promise<void>;
  renameContainer(id: string, name: string, signal: AbortSignal): Promise<void>;
  /** Removes it by force, with its anonymous volumes. Does nothing when it does not exist. */
  removeContainer(id: string, signal: AbortSignal): Promise<void>;
  /** Does nothing when it is connected. */
  connectNetwork(id: string, network: string, alias: string, signal: AbortSignal): Promise<void>;
  /** Does nothing when it does not exist. */
  removeNetwork(id: string, signal: AbortSignal): Promise<void>;
  /** Does nothing when it does not exist. */
  removeVolume(name: string, signal: AbortSignal): Promise<void>;
}

export interface EngineStreams {
  /** Resolves when the event stream ends for any reason. Throws only when it cannot be opened. */
  events(onEvent: (event: EngineEvent) => void, signal: AbortSignal): Promise<void>;
  /**
   * Resolves with stdout and stderr as they come, without Docker's frame headers; of a container with a terminal unchanged.
   * Reads no faster than the caller iterates. `signal`, or leaving the iteration, closes Docker's stream at once.
   */
  logs(id: string, query: LogQuery, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
  /**
   * Pulls with the credentials in the Docker configuration of the agent's user. Also throws `pull.unauthorized`,
   * `pull.unknown` (no such image or tag), `pull.stalled` (nothing happened for `idle`) and `pull.failed`; errors inside
   * the progress stream too.
   */
  pull(
    image: string,
    onProgress: (progress: PullProgress) => void,
    idle: Duration,
    signal: AbortSignal,
  ): Promise<void>;
}

export interface Engine extends EngineReads, EngineChanges, EngineStreams {}
