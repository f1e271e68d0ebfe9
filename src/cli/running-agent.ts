// Finds the agent that a command addresses: the one the configuration names, else the one this user runs.
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import * as v from "valibot";
import { databasePath, stateDirectory } from "../agent/agent.ts";
import type { Config } from "../config/load.ts";
import type { Settings } from "../config/options.ts";
import { STATE_DIRECTORY } from "../install/places.ts";
import { serviceState } from "../install/service.ts";
import { AgentError, exit } from "../lib/agent-error.ts";
import { askStatus } from "../agent/control-socket.ts";
import type { Status } from "../agent/status.ts";
import { announce, announced } from "../platform/announce.ts";
import { note } from "./ui/output.ts";

const Announcement = v.object({
  state_file: v.string(),
  api_url: v.optional(v.string()),
  server_url: v.optional(v.string()),
});
type Announcement = v.InferOutput<typeof Announcement>;

/** Lets commands of this user find the agent until disposed. A failure is ignored: the agent does not depend on it. */
export function announceAgent({ state_file, api_url, server_url }: Announcement): Disposable {
  try {
    return announce("agent", { state_file, api_url, server_url });
  } catch {
    return { [Symbol.dispose]() {} };
  }
}

/**
 * Returns the settings, with the state file of the agent this user runs where the configuration names none. Throws
 * "agent.several" (exit 2) when this user runs several and the configuration does not choose one.
 */
export function settingsOfAgent(config: Config): Settings {
  const { settings } = config;
  if (namesState(config)) return settings;
  const [one, ...others] = announced("agent", Announcement).filter(({ document }) =>
    isMeant(document, settings),
  );
  if (one === undefined) return settings;
  if (others.length > 0) throw severalAgents([one, ...others]);
  const { state_file } = one.document;
  note(`The agent that runs with the state directory ${dirname(state_file)}:`);
  return { ...settings, state_file };
}

/** True when a setting says where the state is, or an agent has run in the default place. */
const namesState = ({ settings, origins }: Config): boolean =>
  (origins.get("state_file")?.from ?? "default") !== "default" ||
  existsSync(databasePath(stateDirectory(settings)));

/** A configured control plane selects the agents connected to it. */
const isMeant = (agent: Announcement, { api_url, server_url }: Settings): boolean =>
  (api_url === undefined || agent.api_url === api_url) &&
  (server_url === undefined || agent.server_url === server_url);

const severalAgents = (
  agents: readonly { readonly pid: number; readonly document: Announcement }[],
): AgentError =>
  new AgentError("agent.several", `you run ${agents.length} agents on this machine: choose one`, {
    exit: exit.usage,
    hint: agents.map(({ pid, document }) => `--state-file ${document.state_file}   (pid ${pid})`),
  });

/** Asks the running agent for its status. Throws "agent.not_running" when there is none, and what the control socket throws. */
export async function runningAgent(settings: Pick<Settings, "state_file">): Promise<Status> {
  const directory = stateDirectory(settings);
  const status = await askStatus(directory);
  if (status !== undefined) return status;
  const isService = directory === STATE_DIRECTORY && serviceState() !== undefined;
  throw new AgentError("agent.not_running", `no agent runs with the state directory ${directory}`, {
    hint: `Start it:  noderax-agent ${isService ? "start" : "run"}`,
  });
}
