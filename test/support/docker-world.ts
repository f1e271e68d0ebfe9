// A model of Docker for the planner's properties: it obeys steps, crashes containers, and refuses what Docker refuses.
import { type DesiredProject } from "../../src/projects/plan/desired.ts";
import { NO_HISTORY, type Outcome, type ProjectHistory, remember } from "../../src/projects/plan/history.ts";
import { type Images, type PullState, fullReference } from "../../src/projects/plan/images.ts";
import { nameInRole, roleOf } from "../../src/projects/plan/names.ts";
import type {
  ContainerState,
  MadeFrom,
  ObservedContainer,
  ObservedProject,
} from "../../src/projects/plan/observed.ts";
import { type Plan, type Situation, planProject, planTeardown } from "../../src/projects/plan/project.ts";
import type { Step } from "../../src/projects/plan/step.ts";

export interface WorldContainer {
  id: string;
  name: string;
  service: string;
  state: ContainerState;
  image: string;
  fingerprint: string | undefined;
  networks: Set<string>;
  since: number;
  exitCode: number;
  /** Default: without variables and mounts, on its project's network. */
  made?: MadeFrom;
  /** It was ended by a step, or by somebody else. */
  stopped?: boolean;
  /** Of one that ends by itself soon. */
  endsAt?: number;
}

/** What a fingerprint does when it is started: stays up, ends at once or a moment later, or is refused by Docker. */
export type Behaviour = "runs" | "ends" | "ends soon" | "ends well" | "refused";

/** The moment of one that ends soon. */
export const SOON = 200;

export class World {
  readonly containers = new Map<string, WorldContainer>();
  readonly volumes = new Set<string>();
  readonly taken = new Map<string, string>();
  readonly makers = new Map<string, string>();
  readonly present = new Set<string>();
  readonly pulls = new Map<string, PullState>();
  readonly done: Step[] = [];
  /** Steps that Docker refuses. */
  readonly refused = new Set<Step["do"]>();
  network: string | undefined;
  now = 1_000_000;
  history: ProjectHistory = NO_HISTORY;
  #ids = 0;

  constructor(
    readonly project: string,
    readonly behaviour: (fingerprint: string | undefined) => Behaviour = () => "runs",
    readonly unpullable: ReadonlySet<string> = new Set(),
  ) {}

  newId(): string {
    return `id${++this.#ids}`;
  }

  add(container: Omit<WorldContainer, "id">): WorldContainer {
    const made = { id: this.newId(), ...container };
    this.containers.set(made.id, made);
    return made;
  }

  observe(): ObservedProject {
    for (const one of this.containers.values())
      if (one.state === "running" && one.endsAt !== undefined && one.endsAt <= this.now)
        Object.assign(one, { state: "exited", exitCode: 1, since: one.endsAt });
    return {
      containers: [...this.containers.values()].map(
        ({
          id,
          name,
          service,
          state,
          image,
          fingerprint,
          networks,
          since,
          exitCode,
          made,
          stopped = false,
        }): ObservedContainer => ({
          id,
          name,
          service,
          role: roleOf(this.project, service, name),
          state,
          image,
          fingerprint,
          made: made ?? { env: [], mounts: [], networks: [`cara-${this.project}`], restarts: false },
          networks: new Map([...networks].map((network) => [network, "10.0.0.2"])),
          since,
          exit:
            state === "exited"
              ? { code: exitCode, oomKilled: false, lastLines: "", byItself: !stopped }
              : undefined,
        }),
      ),
      network: this.network,
      volumes: new Set(this.volumes),
      taken: new Map(this.taken),
      makers: new Map(this.makers),
    };
  }

  images(): Images {
    return { present: this.present, pulls: this.pulls };
  }

  situation(): Situation {
    return {
      observed: this.observe(),
      history: this.history,
      images: this.images(),
      policy: {
        pull: undefined,
        restart: { limit: 5, window: 600_000 },
      },
      now: this.now,
    };
  }

  /** Plans, carries out, and lets time pass when there is nothing to do. Returns the plan. */
  round(desired: DesiredProject): Plan {
    const plan = planProject(desired, this.situation());
    for (const step of plan.steps) this.apply(step);
    this.now += plan.steps.length > 0 ? 50 : Math.max(50, (plan.planAgainAt ?? this.now) - this.now);
    return plan;
  }

  /** As `round`, for one that is to go. */
  teardown(): Plan {
    const plan = planTeardown(this.situation());
    for (const step of plan.steps) this.apply(step);
    this.now += plan.steps.length > 0 ? 50 : Math.max(50, (plan.planAgainAt ?? this.now + 30_000) - this.now);
    return plan;
  }

  apply(step: Step): void {
    this.done.push(step);
    let outcome: Outcome = { is: "done" };
    try {
      this.act(step);
    } catch (error) {
      outcome = { is: "refused", message: String(error) };
    }
    this.history = remember(this.history, step, outcome, this.now);
  }

  #get(id: string): WorldContainer {
    const container = this.containers.get(id);
    if (container === undefined) throw new Error(`no such container ${id}`);
    return container;
  }

  /** Does it, or throws Docker's refusal; leaves the history alone. */
  act(step: Step): void {
    if (this.refused.has(step.do)) throw new Error(`Docker does not want to: ${step.do}`);
    switch (step.do) {
      case "createNetwork":
        this.network = `net${++this.#ids}`;
        return;
      case "createVolume":
        this.volumes.add(step.name);
        return;
      case "pull": {
        const reference = fullReference(step.image);
        if (!this.unpullable.has(reference)) {
          this.present.add(reference);
          this.pulls.set(reference, { state: "pulled", at: this.now });
          return;
        }
        const before = this.pulls.get(reference);
        const attempts = before?.state === "failed" ? before.attempts + 1 : 1;
        const retryAt = this.now + 10_000 * attempts;
        this.pulls.set(reference, {
          state: "failed",
          message: "manifest unknown",
          attempts,
          retryAt,
          lasting: true,
        });
        return;
      }
      case "createContainer": {
        const name = nameInRole(this.project, step.service.name, step.role);
        if ([...this.containers.values()].some((one) => one.name === name))
          throw new Error(`${name} is in use`);
        if (!this.present.has(fullReference(step.service.image))) throw new Error("no such image");
        if (this.network === undefined) throw new Error("no such network");
        for (const { volume } of step.service.mounts) this.volumes.add(volume);
        this.add({
          name,
          service: step.service.name,
          state: "created",
          image: step.service.image,
          fingerprint: step.service.fingerprint,
          networks: new Set([this.network]),
          since: this.now,
          exitCode: 0,
          made: {
            env: step.service.env,
            mounts: step.service.mounts.map(({ volume, path }) => `${volume}:${path}`),
            networks: [`cara-${this.project}`],
            restarts: false,
          },
        });
        return;
      }
      case "startContainer": {
        const container = this.#get(step.id);
        if ([...container.networks].some((network) => network !== this.network))
          throw new Error("network not found");
        const how = this.behaviour(container.fingerprint);
        if (how === "refused") throw new Error("exec: not found");
        container.state = how === "ends" || how === "ends well" ? "exited" : "running";
        container.exitCode = how === "ends" ? 1 : 0;
        container.stopped = false;
        container.since = this.now;
        delete container.endsAt;
        if (how === "ends soon") container.endsAt = this.now + SOON;
        return;
      }
      case "stopContainer": {
        const container = this.#get(step.id);
        container.state = "exited";
        container.exitCode = 143;
        container.stopped = true;
        container.since = this.now;
        return;
      }
      case "unpauseContainer":
        this.#get(step.id).state = "running";
        return;
      case "renameContainer": {
        const container = this.#get(step.id);
        const name = nameInRole(this.project, container.service, step.to);
        if ([...this.containers.values()].some((one) => one.name === name))
          throw new Error(`${name} is in use`);
        container.name = name;
        return;
      }
      case "removeContainer":
        this.#get(step.id);
        this.containers.delete(step.id);
        return;
      case "connectNetwork":
        this.#get(step.id).networks.add(step.network);
        return;
      case "removeNetwork":
        this.network = undefined;
        return;
      case "removeVolume":
        this.volumes.delete(step.name);
    }
  }
}
