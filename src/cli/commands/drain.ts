// `drain`: stops new projects from coming to this machine until `--off`; running ones stay. The order is written into the
// agent's database, which the agent reads before every heartbeat, so it holds across restarts.
import { accessSync, constants } from "node:fs";
import { errnoOf } from "../../lib/errno.ts";
import { steadyNow } from "../../lib/clock.ts";
import { databasePath, stateDirectory } from "../../agent/agent.ts";
import { AgentError, exit } from "../../lib/agent-error.ts";
import { requireTrusted } from "../../platform/trust/root-trust.ts";
import type { Settings } from "../../config/options.ts";
import { milliseconds, seconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";
import { askStatus, tellNews } from "../../agent/control-socket.ts";
import { openDatabase } from "../../platform/database.ts";
import { createDrain, drainMigration } from "../../projects/node/drain.ts";
import { command } from "../command.ts";
import { configFlags, configFrom } from "../config-flags.ts";
import { age, print, printJson } from "../ui/output.ts";
import { settingsOfAgent } from "../running-agent.ts";

export default command({
  name: "drain",
  description: "accept no more projects, for maintenance; running ones stay",
  examples: ["drain", "drain --off"],
  args: {
    ...configFlags,
    off: { type: "boolean", description: "accept projects again" },
    json: { type: "boolean", description: "print one JSON document" },
  },
  async run({ args }) {
    const settings = settingsOfAgent(await configFrom(args));
    const { before, since } = setDrain(databaseOf(settings), args.off !== true);
    if (args.json) return printJson({ draining_since: since ?? null });
    print(words(before, since));
    print(`  ${await serverKnowledge(stateDirectory(settings), since !== undefined)}`);
  },
});

/**
 * Returns the path of the agent's database. Throws "agent.unknown" when there is none, since a mistyped directory must not look like
 * success, and "agent.forbidden" (exit 5) when this user cannot write it.
 */
function databaseOf(settings: Pick<Settings, "state_file">): string {
  const directory = stateDirectory(settings);
  const path = databasePath(directory);
  requireTrusted(path, "state", { passShared: true });
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return path;
  } catch (error) {
    const code = errnoOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw new AgentError("agent.unknown", `no agent has run with the state directory ${directory}`, {
        hint: "Name its configuration with --config, or start it:  noderax-agent run",
      });
    }
    throw new AgentError("agent.forbidden", `the agent in ${directory} belongs to another user`, {
      hint: "Run this as that user, or with sudo.",
      exit: exit.refused,
      cause: error,
    });
  }
}

function setDrain(path: string, on: boolean): { before: string | undefined; since: string | undefined } {
  using database = openDatabase(path, [drainMigration]);
  const drain = createDrain(database);
  const before = drain.since();
  if (on) drain.start();
  else drain.end();
  return { before, since: drain.since() };
}

function words(before: string | undefined, since: string | undefined): string {
  if (since === undefined) return before === undefined ? "was not draining" : "accepts projects again";
  return before === undefined
    ? "draining: no new projects come here, running ones stay"
    : `draining already, for ${age(Date.parse(since))}`;
}

/** How long to wait for the agent's report to the server. */
const REPORT_TIMEOUT = seconds(2);

/** Asks the agent to report to the server now, and words whether the server knows. */
async function serverKnowledge(directory: string, draining: boolean): Promise<string> {
  const end = steadyNow() + REPORT_TIMEOUT;
  for (let status = await tellNews(directory); ; status = await askStatus(directory)) {
    if (status === undefined) return "No agent runs here: it tells the server when it is started.";
    const plane = status.caravanserai ?? undefined;
    if (plane === undefined)
      return "The running agent has no Caravanserai server (server_url): this changes nothing for it.";
    if ((plane.state === "Draining") === draining) return `The server at ${plane.server_url} knows.`;
    if (steadyNow() > end) return `The server at ${plane.server_url} is told with the next heartbeat.`;
    await sleep(milliseconds(50));
  }
}
