// The real agent's Caravanserai plane against a sandbox and a real Docker Engine, in this process or in one that can be killed.
import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Agent, databasePath } from "../../src/agent/agent.ts";
import { type Duration, milliseconds, seconds } from "../../src/lib/duration.ts";
import type { Status } from "../../src/agent/status.ts";
import type { ProjectResource, Report } from "../../src/sandbox/caravanserai/resources.ts";
import type { Sandbox, SandboxOptions } from "../../src/sandbox/sandbox.ts";
import { type AgentPlace, ChildAgent, InProcessAgent } from "./agent-runner.ts";
import { IMAGE, type Playground, createPlayground, dockerHost, dockerIn } from "./docker.ts";
import { type ControlPlane, controlPlane } from "./sandbox.ts";
import { changes, eventually, until } from "./until.ts";

export interface ProjectNodeOptions {
  /** Default "node-1". */
  readonly name?: string;
  readonly sandbox?: SandboxOptions;
  /** Keys of the agent's configuration file. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** True: in a process of its own, which can be killed. */
  readonly process?: boolean;
  /** Environment of that process. */
  readonly env?: Readonly<Record<string, string>>;
  /** Another daemon than the one of DOCKER_HOST; what is made there goes with it. */
  readonly host?: string;
  /** A node of the same control plane, for projects of the same names. */
  readonly beside?: ProjectNode;
}

export interface Service {
  readonly name: string;
  readonly image?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Path by name of the volume. */
  readonly mounts?: Readonly<Record<string, string>>;
}

/** An ingress rule; a host without a dot gets the project's name behind it. */
export interface Rule {
  readonly host: string;
  readonly service: string;
  readonly port: number;
}

/** A dozen nodes of as many tests may share two cores and one Docker. */
const PATIENCE: Duration = seconds(60);
/** Clocks of both sides that only cost a test its time. */
const QUICK = {
  heartbeat_interval: "500ms",
  project_poll_interval: "100ms",
  orphan_grace: "400ms",
  advertise_ip: "127.0.0.1",
  listen_port: 0,
  proxy_listen_addr: "",
};
const QUICK_SERVER = { projectPass: milliseconds(50), nodeCheck: milliseconds(100) };

export class ProjectNode implements AgentPlace, AsyncDisposable {
  readonly directory: string;
  readonly configFile: string;
  readonly stateDirectory: string;
  readonly name: string;
  /** What the agent has logged, of all its lives. */
  readonly log: string[] = [];
  readonly #options: ProjectNodeOptions;
  readonly #plane: ControlPlane;
  readonly #place: Playground | undefined;
  readonly #runner: InProcessAgent | ChildAgent;
  /** Nobody else has a project whose name begins so. */
  readonly prefix: string;

  private constructor(
    options: ProjectNodeOptions,
    directory: string,
    plane: ControlPlane,
    place: Playground | undefined,
  ) {
    this.directory = directory;
    this.configFile = join(directory, "config.json");
    this.stateDirectory = join(directory, "state");
    this.#options = options;
    this.#runner = options.process ? new ChildAgent(this, options.env) : new InProcessAgent(this);
    this.#plane = plane;
    this.#place = place;
    this.name = options.name ?? "node-1";
    this.prefix = options.beside?.prefix ?? place?.project ?? "own";
  }

  static async start(options: ProjectNodeOptions = {}): Promise<ProjectNode> {
    const place =
      options.host === undefined && options.beside === undefined ? await createPlayground() : undefined;
    const directory = mkdtempSync(join(tmpdir(), "noderax-projects-"));
    const timings = { ...QUICK_SERVER, ...options.sandbox?.timings };
    const plane = options.beside?.plane ?? (await controlPlane(directory, { ...options.sandbox, timings }));
    const node = new ProjectNode(options, directory, plane, place);
    try {
      await node.starts();
      await until(
        `${node.name} is Ready`,
        () =>
          node.sandbox
            .caraNodes()
            .some((one) => one.metadata.name === node.name && one.status.state === "Ready"),
        PATIENCE,
        () => node.story(),
      );
      return node;
    } catch (error) {
      await node[Symbol.asyncDispose]();
      throw error;
    }
  }

  get plane(): ControlPlane {
    return this.#plane;
  }
  /** The one that runs now. */
  get sandbox(): Sandbox {
    return this.#plane.sandbox;
  }
  get agent(): Agent {
    return this.#inProcess().agent;
  }

  /** Of an agent in a process of its own. */
  get pid(): number {
    return this.#child().pid;
  }

  /** The status document of the running agent, wherever it runs. */
  status(): Promise<Status> {
    return this.#runner.status();
  }

  #inProcess(): InProcessAgent {
    if (this.#runner instanceof InProcessAgent) return this.#runner;
    throw new Error("the agent runs in a process of its own");
  }

  #child(): ChildAgent {
    if (this.#runner instanceof ChildAgent) return this.#runner;
    throw new Error("the agent runs in this process; start the node with `process: true`");
  }

  /** Where the agent's HTTP server, or its ingress, listens now. */
  port(of: "listener" | "ingress" = "listener"): Promise<number> {
    const look = async (): Promise<number | undefined> => {
      const address = (await this.status()).caravanserai?.[of]?.address ?? undefined;
      return address === undefined ? undefined : Number(/\d+$/.exec(address)?.[0]);
    };
    return eventually(`the ${of} listens`, look, PATIENCE, () => this.story());
  }

  /** Resolves after so many more rounds of the loop that removes orphans, 0.1 s each: a grace is four of them. */
  orphanRounds(count: number): Promise<void> {
    const last = async (): Promise<string> => {
      const loop = (await this.status()).loops.find(({ name }) => name === "orphans");
      return `${loop?.last_success} ${loop?.last_error?.at}`;
    };
    return changes("orphans are looked for", last, count);
  }

  docker(...args: string[]): Promise<string> {
    return dockerIn({ DOCKER_HOST: this.#options.host ?? dockerHost }, ...args);
  }

  async starts(): Promise<void> {
    const document = {
      ...QUICK,
      server_url: this.plane.url,
      node_name: this.name,
      docker_host: this.#options.host ?? dockerHost,
      state_file: join(this.stateDirectory, "agent_identity.json"),
      log_level: "debug",
      ...this.#options.settings,
    };
    writeFileSync(this.configFile, JSON.stringify(document), { mode: 0o600 });
    await this.#runner.start();
  }

  /** In order; containers run on. */
  stops(): Promise<void> {
    return this.#inProcess().stop(seconds(2));
  }

  /** SIGKILL. */
  dies(): Promise<void> {
    return this.#child().kill();
  }

  /** Whether the agent still takes a project of this name for one that was assigned to it. */
  remembers(project: string): boolean {
    using database = new Database(databasePath(this.stateDirectory), { readonly: true });
    return database.query("SELECT 1 FROM assigned_name WHERE name = ?").get(project) !== null;
  }

  /** An image that does this when it is started; goes with the node. */
  image(script: string): Promise<string> {
    if (this.#place === undefined) throw new Error("this node has no playground of its own");
    return this.#place.image(script);
  }

  /** `name` is put behind the prefix. */
  project(name: string, services: readonly Service[], volumes: readonly string[] = []): ProjectHandle {
    return new ProjectHandle(this, `${this.prefix}-${name}`, services, volumes);
  }

  story(): string {
    return `\nthe log of the agent:\n${this.log.slice(-40).join("\n")}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // In order: what a step still did on Docker would outlive the removal of what the test has made there.
    if (this.#runner instanceof InProcessAgent) await this.stops();
    await this.#runner[Symbol.asyncDispose]();
    if (this.#options.beside === undefined) await this.#plane[Symbol.asyncDispose]();
    await this.#place?.[Symbol.asyncDispose]();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export interface Container {
  readonly id: string;
  readonly state: string;
  readonly startedAt: string;
  readonly env: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly networks: readonly string[];
  /** On its project's network; empty while it does not run. */
  readonly address: string;
}

/** A project as its operator and its machine see it. */
export class ProjectHandle {
  constructor(
    readonly node: ProjectNode,
    readonly name: string,
    readonly services: readonly Service[],
    readonly volumes: readonly string[] = [],
    readonly rules: readonly Rule[] = [],
  ) {}

  /** The same project with another spec. */
  with(services: readonly Service[], volumes = this.volumes): ProjectHandle {
    return new ProjectHandle(this.node, this.name, services, volumes, this.rules);
  }

  /** `force`: also while it runs. */
  apply({ force = false } = {}): this {
    this.node.sandbox.applyProject(
      {
        apiVersion: "caravanserai/v1",
        kind: "Project",
        metadata: { name: this.name },
        spec: {
          services: this.services.map(({ name, image = IMAGE, env = {}, mounts = {} }) => ({
            name,
            image,
            env: Object.entries(env).map(([key, value]) => ({ name: key, value })),
            volumeMounts: Object.entries(mounts).map(([volume, mountPath]) => ({ name: volume, mountPath })),
          })),
          volumes: this.volumes.map((volume) => ({ name: volume, type: "Ephemeral" })),
          ingress: this.rules.map(({ host, ...target }) => ({
            name: host,
            host,
            target,
            access: { scope: "Internal" },
          })),
        },
      },
      { force },
    );
    return this;
  }

  resource(): ProjectResource | undefined {
    return this.node.sandbox.projects().find(({ metadata }) => metadata.name === this.name);
  }
  phase(): string {
    return this.resource()?.status.phase ?? "none";
  }
  /** Oldest first. */
  reports(): Report[] {
    return this.node.sandbox.projectReports(this.name);
  }
  /** Why it stands where it stands, in the server's words. */
  ready(): { reason: string; message: string } {
    const ready = this.resource()?.status.conditions?.find(({ type }) => type === "Ready");
    return { reason: ready?.reason ?? "", message: ready?.message ?? "" };
  }

  async becomes(phase: string, within: Duration = PATIENCE): Promise<this> {
    await until(
      `${this.name} is ${phase}`,
      () => this.phase() === phase,
      within,
      () => this.story(),
    );
    return this;
  }

  delete(options?: { force?: boolean }): void {
    this.node.sandbox.deleteProject(this.name, options);
  }

  /** The same project with one more ingress rule. */
  at(host: string, service: string, port: number): ProjectHandle {
    const rules = [...this.rules, { host, service, port }];
    return new ProjectHandle(this.node, this.name, this.services, this.volumes, rules);
  }

  /** Undefined while there is none. */
  async container(service: string): Promise<Container | undefined> {
    const text = await this.node
      .docker("container", "inspect", `${this.name}-${service}`)
      .catch(() => undefined);
    if (text === undefined) return undefined;
    const [found] = JSON.parse(text) as {
      Id: string;
      State: { Status: string; StartedAt: string };
      Config: { Env: string[] | null; Labels: Record<string, string> };
      NetworkSettings: { Networks: Record<string, { IPAddress: string }> };
    }[];
    return (
      found && {
        id: found.Id,
        state: found.State.Status,
        startedAt: found.State.StartedAt,
        env: found.Config.Env ?? [],
        labels: found.Config.Labels,
        networks: Object.keys(found.NetworkSettings.Networks),
        address: found.NetworkSettings.Networks[`cara-${this.name}`]?.IPAddress ?? "",
      }
    );
  }

  /** Throws where there is none. */
  async running(service: string): Promise<Container> {
    const found = await this.container(service);
    if (found?.state !== "running") throw new Error(`${service} is ${found?.state}\n${this.story()}`);
    return found;
  }

  exec(service: string, ...command: string[]): Promise<string> {
    return this.node.docker("exec", `${this.name}-${service}`, ...command);
  }

  /** What Docker has of it: containers, networks and volumes by name. */
  async remains(): Promise<string[]> {
    const label = `label=cara.project=${this.name}`;
    const lists = await Promise.all([
      this.node.docker("ps", "--all", "--filter", label, "--format", "{{.Names}}"),
      this.node.docker("network", "ls", "--filter", label, "--format", "{{.Name}}"),
      this.node.docker("volume", "ls", "--filter", label, "--format", "{{.Name}}"),
    ]);
    return lists.flatMap((list) => list.split("\n").filter(Boolean)).sort();
  }

  async isGone(within: Duration = PATIENCE): Promise<void> {
    await this.until("nothing is left of it", async () => (await this.remains()).length === 0, within);
  }

  until(what: string, holds: () => boolean | Promise<boolean>, within: Duration = PATIENCE): Promise<void> {
    return until(`${this.name}: ${what}`, holds, within, () => this.story());
  }

  story(): string {
    const reports = this.reports().map((report) => JSON.stringify(report));
    return `${JSON.stringify(this.resource()?.status)}\n${reports.slice(-10).join("\n")}${this.node.story()}`;
  }
}
