// Carries out one step of a plan on Docker. Decides nothing.
import { shortContainerId } from "../../lib/text.ts";
import { hasCode } from "../../lib/agent-error.ts";
import type { Duration } from "../../lib/duration.ts";
import type { Log } from "../../platform/log.ts";
import type { Engine } from "../plan/engine.ts";
import { nameInRole, networkName } from "../plan/names.ts";
import type { Pulls } from "./pulls.ts";
import type { Making, Records } from "./records.ts";
import type { Step } from "../plan/step.ts";

export interface StepPorts {
  readonly engine: Engine;
  readonly records: Pick<Records, "begin" | "made" | "refused">;
  readonly log: Pick<Log, "info">;
  readonly pulls: Pick<Pulls, "request">;
  readonly project: string;
  /** Between SIGTERM and SIGKILL. */
  readonly grace: Duration;
}

/** Resolves when the step is done, a pull when it was requested. Throws what the engine throws. */
export async function applyStep(
  step: Step,
  { engine, records, pulls, log, project, grace }: StepPorts,
  signal: AbortSignal,
): Promise<void> {
  const removed = (what: string): void => log.info("projects", `${project}: removed ${what}`);
  switch (step.do) {
    case "createNetwork":
      return make(records, { kind: "network", name: step.name, fingerprint: "" }, () =>
        engine.createNetwork(project, step.name, signal),
      );
    case "createVolume":
      return make(records, { kind: "volume", name: step.name, fingerprint: "" }, async () => {
        await engine.createVolume(project, step.name, signal);
        return step.name;
      });
    case "pull":
      return pulls.request(step.image);
    case "createContainer": {
      const { service, role } = step;
      const name = nameInRole(project, service.name, role);
      return make(records, { kind: "container", name, fingerprint: service.fingerprint }, () =>
        engine.createContainer(project, service, role, networkName(project), signal),
      );
    }
    case "startContainer":
      return engine.startContainer(step.id, signal);
    case "stopContainer":
      return engine.stopContainer(step.id, grace, signal);
    case "unpauseContainer":
      return engine.unpauseContainer(step.id, signal);
    case "renameContainer":
      return engine.renameContainer(step.id, nameInRole(project, step.service, step.to), signal);
    case "removeContainer":
      await engine.removeContainer(step.id, signal);
      return removed(`container ${shortContainerId(step.id)} of ${step.service}`);
    case "connectNetwork":
      return engine.connectNetwork(step.id, step.network, step.service, signal);
    case "removeNetwork":
      await engine.removeNetwork(step.id, signal);
      return removed(`network ${networkName(project)}`);
    case "removeVolume":
      await engine.removeVolume(step.name, signal);
      return removed(`volume ${step.name}`);
  }
}

/** Records the object before and after its creation, so that a crash in between does not lose that it is ours. */
async function make(
  records: StepPorts["records"],
  making: Making,
  create: () => Promise<string>,
): Promise<void> {
  records.begin(making);
  try {
    records.made(making, await create());
  } catch (error) {
    // After any other error it may have been created.
    if (hasCode(error, "docker.refused", "docker.gone", "docker.full")) records.refused(making);
    throw error;
  }
}
