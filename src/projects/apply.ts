// Carries out one step of a plan on Docker. No policy: what to do was decided, what failed is judged elsewhere.
import type { Duration } from "../lib/duration.ts";
import type { Engine } from "./engine.ts";
import { nameInRole, networkName } from "./names.ts";
import type { Pulls } from "./pulls.ts";
import type { Step } from "./step.ts";

export interface Hands {
  readonly engine: Engine;
  readonly pulls: Pick<Pulls, "request">;
  readonly project: string;
  /** Between SIGTERM and SIGKILL. */
  readonly grace: Duration;
}

/** Resolves when it is done; of a pull, when it was asked for. Throws what the engine throws. */
export async function applyStep(
  step: Step,
  { engine, pulls, project, grace }: Hands,
  signal: AbortSignal,
): Promise<void> {
  switch (step.do) {
    case "createNetwork":
      return engine.createNetwork(project, step.name, signal);
    case "createVolume":
      return engine.createVolume(project, step.name, signal);
    case "pull":
      return pulls.request(step.image);
    case "createContainer":
      return engine.createContainer(project, step.service, step.role, networkName(project), signal);
    case "startContainer":
      return engine.startContainer(step.id, signal);
    case "stopContainer":
      return engine.stopContainer(step.id, grace, signal);
    case "unpauseContainer":
      return engine.unpauseContainer(step.id, signal);
    case "renameContainer":
      return engine.renameContainer(step.id, nameInRole(project, step.service, step.to), signal);
    case "removeContainer":
      return engine.removeContainer(step.id, signal);
    case "connectNetwork":
      return engine.connectNetwork(step.id, step.network, step.service, signal);
    case "removeNetwork":
      return engine.removeNetwork(step.id, signal);
    case "removeVolume":
      return engine.removeVolume(step.name, signal);
  }
}
