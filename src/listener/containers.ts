// The interface between the listener and the containers of this machine; the projects' engine implements it.

/** The current container of a service, in any state. */
export interface ServingContainer {
  readonly id: string;
  /** Docker's state: "running", "exited", "paused". */
  readonly state: string;
  /** Its addresses on the project's network, IPv4 before IPv6; empty while it has none. */
  readonly addresses: readonly string[];
}

export interface ContainerLogQuery {
  readonly follow: boolean;
  readonly tail: number | "all";
  readonly timestamps: boolean;
  /** Seconds since the epoch, with fractions. */
  readonly since?: number;
}

export interface Containers {
  /** Resolves with `undefined` when no container with our labels serves it. Throws the "docker.*" codes of `projects/plan/engine.ts`. */
  findService(project: string, service: string, signal: AbortSignal): Promise<ServingContainer | undefined>;
  /** Streams the log without reading ahead. Leaving the iteration closes Docker's stream at once. */
  logs(id: string, query: ContainerLogQuery, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
}

/** One host name that the ingress serves. */
export interface IngressRoute {
  /** In lower case, without a port. */
  readonly host: string;
  readonly project: string;
  readonly service: string;
  /** `undefined` while no container of the service runs. */
  readonly address: string | undefined;
  readonly port: number;
}
