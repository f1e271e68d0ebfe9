// An engine on models of Docker: the real reconcile loop runs on it, and it sees whether two work on one thing at once.
import { type Duration, milliseconds } from "../../src/lib/duration.ts";
import { turn } from "./until.ts";
import { AgentError } from "../../src/lib/agent-error.ts";
import type {
  Engine,
  EngineEvent,
  LogQuery,
  Snapshot,
  ServiceContainer,
} from "../../src/projects/plan/engine.ts";
import { steadyNow } from "../../src/lib/clock.ts";
import { fullReference } from "../../src/projects/plan/images.ts";
import type { Role } from "../../src/projects/plan/names.ts";
import { nameInRole, roleOf } from "../../src/projects/plan/names.ts";
import type { ObservedProject } from "../../src/projects/plan/observed.ts";
import type { Step } from "../../src/projects/plan/step.ts";
import { type Behaviour, World, type WorldContainer } from "./docker-world.ts";

/** Docker needs some time for everything: others have their turn meanwhile. */
const worksFor = (time: Duration): Promise<void> => Bun.sleep(time);

export class WorldEngine implements Engine {
  readonly worlds = new Map<string, World>();
  readonly images = new Set<string>();
  readonly foreign = new Map<string, string>();
  /** Every step that was carried out: "shop createContainer web". */
  readonly done: string[] = [];
  /** Two at once on one service, or on a project's foundation. */
  readonly clashes: string[] = [];
  /** What a container of this service does when it is started. */
  behaviour: (project: string, service: string) => Behaviour = () => "runs";
  unpullable = new Set<string>();
  /** Why a pull fails, if it does. */
  pullFailure: (image: string) => AgentError | undefined = () => undefined;
  /** Steps that Docker refuses. */
  refuse: (text: string) => boolean = () => false;
  away = false;
  snapshots = 0;
  /** What a container of this service has written. */
  wrote: (project: string, service: string) => string = () => "";
  /** Called before and after every step. */
  onStep: (text: string, when: "before" | "after") => void = () => {};
  #listeners = new Set<(event: EngineEvent) => void>();
  #streams = new Set<() => void>();
  readonly #busy = new Map<string, number>();

  world(project: string): World {
    const known = this.worlds.get(project);
    if (known !== undefined) return known;
    const world: World = new World(project, (fingerprint) => {
      const own = [...world.containers.values()].find((one) => one.fingerprint === fingerprint);
      return this.behaviour(project, own?.service ?? "");
    });
    this.worlds.set(project, world);
    return world;
  }

  running(project: string): string[] {
    return [...this.world(project).containers.values()]
      .filter(({ state }) => state === "running")
      .map(({ name }) => name)
      .sort();
  }

  isEmpty(project: string): boolean {
    const { containers, network, volumes } = this.world(project);
    return containers.size === 0 && network === undefined && volumes.size === 0;
  }

  /** Nothing but its data is left. */
  isDown(project: string): boolean {
    const { containers, network } = this.world(project);
    return containers.size === 0 && network === undefined;
  }

  /** Ends by itself, as a crash does. Docker's list may lag behind its event by `lag` milliseconds. */
  crash(project: string, service: string, exitCode = 1, lag = 0): void {
    const found = [...this.world(project).containers.values()].find(
      (one) => one.service === service && one.state === "running",
    );
    if (found === undefined) throw new Error(`${service} of ${project} does not run`);
    const since = steadyNow();
    const end = (): void =>
      void Object.assign(found, { state: "exited", exitCode, since } satisfies Partial<WorldContainer>);
    if (lag > 0) setTimeout(end, lag);
    else end();
    this.tell({ project, action: "die" });
  }

  tell(event: EngineEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  /** Docker goes: streams end, calls fail. */
  leave(): void {
    this.away = true;
    for (const end of this.#streams) end();
  }

  #check(signal: AbortSignal): void {
    signal.throwIfAborted();
    if (this.away) throw new AgentError("docker.away", "cannot reach Docker: no such socket");
  }

  async info(signal: AbortSignal) {
    await turn();
    this.#check(signal);
    return { version: "28.0.0", apiVersion: "1.48", root: "/" };
  }

  async snapshot(signal: AbortSignal): Promise<Snapshot> {
    this.#check(signal);
    this.snapshots++;
    const at = steadyNow();
    await worksFor(milliseconds(1));
    this.#check(signal);
    const projects = new Map<string, ObservedProject>();
    for (const [name, world] of this.worlds)
      if (!this.isEmpty(name)) projects.set(name, this.#observe(world));
    return { projects, foreign: new Map(this.foreign), unowned: new Map(), images: new Set(this.images), at };
  }

  /** Ids of the models are unique within a project only. */
  #observe(world: World): ObservedProject {
    world.now = steadyNow();
    const observed = world.observe();
    const global = (id: string): string => `${world.project}/${id}`;
    return {
      ...observed,
      network: observed.network === undefined ? undefined : global(observed.network),
      makers: new Map(
        [...observed.makers].map(([key, maker]) => [observed.volumes.has(key) ? key : global(key), maker]),
      ),
      containers: observed.containers.map((one) => ({
        ...one,
        id: global(one.id),
        role: roleOf(world.project, one.service, one.name),
        networks: new Map([...one.networks].map(([id, address]) => [global(id), address])),
      })),
    };
  }

  events(onEvent: (event: EngineEvent) => void, signal: AbortSignal): Promise<void> {
    this.#check(signal);
    this.#listeners.add(onEvent);
    return new Promise((resolve) => {
      const end = (): void => {
        this.#listeners.delete(onEvent);
        this.#streams.delete(end);
        resolve();
      };
      this.#streams.add(end);
      signal.addEventListener("abort", end, { once: true });
    });
  }

  async findService(
    project: string,
    service: string,
    signal: AbortSignal,
  ): Promise<ServiceContainer | undefined> {
    this.#check(signal);
    await turn();
    const own = this.#observe(this.world(project)).containers.filter((one) => one.service === service);
    const found = own.find(({ role }) => role === "current") ?? own.find(({ role }) => role === "previous");
    return found && { id: found.id, state: found.state, addresses: [...found.networks.values()] };
  }

  /** A log that is followed ends when `signal` does: these containers write nothing more. */
  async logs(
    id: string,
    { follow, tail }: LogQuery,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    this.#check(signal);
    await turn();
    const [project = "", own = ""] = id.split("/");
    const service = this.world(project).containers.get(own)?.service;
    if (service === undefined) throw new AgentError("docker.gone", `No such container: ${id}`);
    const lines = this.wrote(project, service).split(/(?<=\n)/);
    const text = lines.slice(tail === "all" ? 0 : Math.max(0, lines.length - tail)).join("");
    return (async function* () {
      yield Buffer.from(text);
      if (follow && !signal.aborted)
        await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    })();
  }

  async #act(project: string, service: string, step: Step, signal: AbortSignal): Promise<void> {
    this.#check(signal);
    const text = `${project} ${step.do} ${service}`.trimEnd();
    const key = `${project}/${service}`;
    if (this.#busy.has(key)) this.clashes.push(text);
    this.#busy.set(key, 1);
    try {
      this.onStep(text, "before");
      await worksFor(milliseconds(1));
      this.#check(signal);
      if (this.refuse(text)) throw new AgentError("docker.refused", `Docker does not want to: ${step.do}`);
      const world = this.world(project);
      world.now = steadyNow();
      for (const image of this.images) world.present.add(image);
      try {
        world.act(step);
      } catch (error) {
        throw new AgentError("docker.refused", error instanceof Error ? error.message : String(error));
      }
      this.done.push(text);
      this.onStep(text, "after");
      signal.throwIfAborted();
    } finally {
      this.#busy.delete(key);
    }
  }

  #byId(id: string, make: (id: string, service: string) => Step, signal: AbortSignal): Promise<void> {
    const [project = "", own = ""] = id.split("/");
    const service = this.world(project).containers.get(own)?.service ?? "?";
    return this.#act(project, service, make(own, service), signal);
  }

  async createNetwork(project: string, name: string, signal: AbortSignal) {
    await this.#act(project, "", { do: "createNetwork", name }, signal);
    return `${project}/${this.world(project).network}`;
  }
  createVolume(project: string, name: string, signal: AbortSignal) {
    return this.#act(project, "", { do: "createVolume", name }, signal);
  }
  async createContainer(
    ...[project, service, role, , signal]: Parameters<Engine["createContainer"]>
  ): Promise<string> {
    if (role === "previous") throw new Error("nobody makes a previous one");
    await this.#act(project, service.name, { do: "createContainer", service, role }, signal);
    const name = nameInRole(project, service.name, role);
    const made = [...this.world(project).containers.values()].find((one) => one.name === name);
    return `${project}/${made?.id}`;
  }
  startContainer(id: string, signal: AbortSignal) {
    return this.#byId(id, (id, service) => ({ do: "startContainer", id, service, again: false }), signal);
  }
  stopContainer(id: string, _grace: number, signal: AbortSignal) {
    return this.#byId(id, (id, service) => ({ do: "stopContainer", id, service }), signal);
  }
  unpauseContainer(id: string, signal: AbortSignal) {
    return this.#byId(id, (id, service) => ({ do: "unpauseContainer", id, service }), signal);
  }
  renameContainer(id: string, name: string, signal: AbortSignal) {
    const roles: readonly Role[] = ["current", "next", "previous"];
    const to = roles.find(
      (role) => name.endsWith(role === "current" ? "" : `_${role}`) && role !== "current",
    );
    return this.#byId(
      id,
      (id, service) => ({ do: "renameContainer", id, service, to: to ?? "current" }),
      signal,
    );
  }
  removeContainer(id: string, signal: AbortSignal) {
    return this.#byId(id, (id, service) => ({ do: "removeContainer", id, service }), signal);
  }
  connectNetwork(id: string, network: string, _alias: string, signal: AbortSignal) {
    return this.#byId(
      id,
      (id, service) => ({ do: "connectNetwork", id, service, network: network.split("/")[1] ?? "" }),
      signal,
    );
  }
  removeNetwork(id: string, signal: AbortSignal) {
    const [project = ""] = id.split("/");
    return this.#act(project, "", { do: "removeNetwork", id }, signal);
  }
  removeVolume(name: string, signal: AbortSignal) {
    const project = [...this.worlds.values()].find(({ volumes }) => volumes.has(name))?.project ?? "";
    return this.#act(project, "", { do: "removeVolume", name }, signal);
  }
  async pull(...[image, , , signal]: Parameters<Engine["pull"]>): Promise<void> {
    this.#check(signal);
    await worksFor(milliseconds(1));
    const failure = this.pullFailure(image);
    if (failure !== undefined) throw failure;
    if (this.unpullable.has(image)) throw new AgentError("pull.unknown", "manifest unknown");
    this.images.add(fullReference(image));
  }
}
