// What the listener needs of the containers of this machine. The projects' engine implements it.

/** The container that serves now, whatever its state. */
export interface Target {
  readonly id: string;
  /** Docker's word: "running", "exited", "paused". */
  readonly state: string;
  /** On its project's network, IPv4 before IPv6; empty while it has none there. */
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
  /** Undefined when no container with our labels serves it. Throws AgentError `docker.…`, as `projects/plan/engine.ts` has it. */
  findService(project: string, service: string, signal: AbortSignal): Promise<Target | undefined>;
  /** Leaving the iteration closes Docker's stream at once; nothing is read ahead. */
  logs(id: string, query: ContainerLogQuery, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
}

/** One host name that the ingress serves. */
export interface IngressRoute {
  /** In lower case, without a port. */
  readonly host: string;
  readonly project: string;
  readonly service: string;
  /** Undefined while no container of the service runs. */
  readonly address: string | undefined;
  readonly port: number;
}
