// `start`, `stop`, `restart`: control the installed service.
import { existsSync } from "node:fs";
import { type ServiceAction, initSystem, manage, nextOf, serviceState } from "../../install/service.ts";
import { places } from "../../install/places.ts";
import { AgentError, type ExitCode, exit } from "../../lib/agent-error.ts";
import { type Command, command } from "../command.ts";
import { configFrom } from "../config-flags.ts";
import { interruption } from "../interruption.ts";
import { whyNotHealthy } from "../service-wait.ts";
import { print } from "../ui/output.ts";
import { createProgress } from "../ui/progress.ts";

/** Throws "service.no_manager" or "service.not_installed" where the agent is not installed as a service. */
export function requireService(): void {
  const init = initSystem();
  if (init === "none")
    throw new AgentError("service.no_manager", "this machine has neither systemd nor OpenRC", {
      hint: `Run it in the foreground:  NODERAX_CONFIG_FILE=${places.config} noderax-agent run`,
    });
  if (serviceState(init) === undefined)
    throw new AgentError("service.not_installed", "the agent is not installed as a service here", {
      hint: "Install it:  noderax-agent install",
    });
}

/** Starts or restarts the service and waits until it is healthy. Throws "service.waiting" when it does not become so. */
export async function bringUpService(action: "start" | "restart"): Promise<void> {
  const { signal } = interruption();
  manage(action);
  const config = await configFrom({ config: configOfService() }, { requireFile: false });
  const why = await whyNotHealthy(config, signal);
  if (why === undefined) return;
  throw new AgentError("service.waiting", `the agent was started, but ${why}`, {
    hint: nextOf(serviceState()),
    exit: exit.degraded,
  });
}

/** Returns the path of the configuration file that the unit names. */
export function configOfService(): string {
  return existsSync(places.config) || !existsSync(places.yaml) ? places.config : places.yaml;
}

const DOING = {
  start: "starting the agent, until it works",
  stop: "stopping the agent",
  restart: "restarting the agent, until it works",
} as const;

function serviceCommand(
  action: Extract<ServiceAction, "start" | "stop" | "restart">,
  description: string,
): Command {
  return command({
    name: action,
    description,
    examples: [action],
    async run(): Promise<ExitCode | void> {
      requireService();
      const active = serviceState()?.active ?? "";
      if (action === "start" && active === "active") return print("the agent runs already");
      // One that failed may be about to be started again.
      if (action === "stop" && active === "inactive") return print("the agent does not run");
      {
        using progress = createProgress(true);
        progress.show({ what: DOING[action] });
        if (action === "stop") manage("stop");
        else await bringUpService(action);
      }
      print(action === "stop" ? "stopped; tasks and containers go on" : "the agent runs");
    },
  });
}

export const start = serviceCommand("start", "start the installed service and wait until it works");
export const stop = serviceCommand("stop", "stop the installed service; tasks and containers go on");
export const restart = serviceCommand(
  "restart",
  "start the installed service again; tasks and containers go on",
);
