// The agent that runs with a state directory, for the commands that ask it.
import { stateDirectory } from "../agent.ts";
import { AgentError } from "../lib/agent-error.ts";
import type { Settings } from "../config/options.ts";
import { askStatus } from "../ops/control-socket.ts";
import type { Status } from "../ops/status.ts";

/** What it says of itself. Throws an AgentError when none runs, or it does not answer us. */
export async function runningAgent(settings: Pick<Settings, "state_file">): Promise<Status> {
  const directory = stateDirectory(settings);
  const status = await askStatus(directory);
  if (status !== undefined) return status;
  throw new AgentError("agent.not_running", `no agent runs with the state directory ${directory}`, {
    hint: "Start it:  noderax-agent run",
  });
}
