// `gc`: lists containers of projects that the server does not assign to this node, and when the agent removes them. It removes
// nothing itself: the agent removes containers after a grace period and a second answer of the server. Nothing removes volumes;
// the command to do so is printed.
import { epochOf, wallNow } from "../../lib/clock.ts";
import { AgentError, exit } from "../../lib/agent-error.ts";
import { humanDuration } from "../../lib/duration.ts";
import { printable } from "../../lib/printable.ts";
import type { CaravanseraiStatus } from "../../agent/status.ts";
import { command } from "../command.ts";
import { configFlags, configFrom } from "../config-flags.ts";
import { note, print, printJson, table, warn } from "../ui/output.ts";
import { runningAgent, settingsOfAgent } from "../running-agent.ts";

type Orphan = CaravanseraiStatus["orphans"][number];

export default command({
  name: "gc",
  description: "show orphaned containers, and when the agent removes them",
  examples: ["gc --dry-run", "gc --json"],
  args: {
    ...configFlags,
    "dry-run": {
      type: "boolean",
      description: "has no effect: this command never removes anything itself",
    },
    json: { type: "boolean", description: "print one JSON document" },
  },
  async run({ args }) {
    const settings = settingsOfAgent(await configFrom(args));
    const plane = (await runningAgent(settings)).caravanserai ?? undefined;
    if (plane === undefined) {
      throw new AgentError("gc.no_plane", "the running agent manages no containers", {
        hint: "It does with a Caravanserai server:  noderax-agent config set server_url http://cara.example.com:8080",
        exit: exit.failed,
      });
    }
    const { orphans, docker } = plane;
    if (docker.trouble !== null)
      warn(`Docker is unreachable, this is the last known state: ${docker.trouble}`);
    if (args.json) return printJson(orphans);
    if (orphans.length === 0) return note("there are no orphaned containers");
    const rows = orphans.map((orphan) => [
      orphan.name,
      String(orphan.containers),
      printable(orphan.reason) || "the server has not been asked yet",
      whenRemoved(orphan),
    ]);
    for (const line of table(rows, ["project", "containers", "why", "removal"])) print(line);
    for (const line of volumeLines(orphans)) note(line);
    note("Nothing was removed now: the agent removes them once the server has confirmed it again.");
  },
});

/** Lists the commands that remove the volumes of orphans: the agent never removes those. */
function volumeLines(orphans: readonly Orphan[]): readonly string[] {
  const volumes = orphans.flatMap((orphan) => orphan.volumes.map(printable));
  if (volumes.length === 0) return [];
  return ["Volumes stay until you remove them:", ...volumes.map((name) => `  docker volume rm ${name}`)];
}

/** Words whether and when the agent removes an orphan: "in 42s". `now` is in milliseconds since the epoch. */
export function whenRemoved({ due, verdict }: Orphan, now = epochOf(wallNow())): string {
  if (due !== null) {
    const left = Date.parse(due) - now;
    return left > 0 ? `in ${humanDuration(left)}` : "when the server confirms it";
  }
  if (verdict === "terminated") return "now";
  return verdict === "kept" ? "never" : "not decided: the agent asks the server again";
}
