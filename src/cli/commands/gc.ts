// `gc`: shows what is here of projects that the server's list does not name, why, and when the agent removes it. The
// agent removes containers by itself, after a grace and a second answer of the server; this command only shows. Volumes are
// never removed: it prints the command that does.
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
  description: "show left-over containers, and when the agent removes them by itself",
  examples: ["gc --dry-run", "gc --json"],
  args: {
    ...configFlags,
    "dry-run": {
      type: "boolean",
      description: "what happens anyway: this command never removes anything itself",
    },
    json: { type: "boolean", description: "print one JSON document" },
  },
  async run({ args }) {
    const settings = settingsOfAgent(await configFrom(args));
    const plane = (await runningAgent(settings)).caravanserai ?? undefined;
    if (plane === undefined) {
      throw new AgentError("gc.no_plane", "the agent that runs here has no containers to look after", {
        hint: "It does with a Caravanserai server:  noderax-agent config set server_url http://cara.example.com:8080",
        exit: exit.failed,
      });
    }
    const { orphans, docker } = plane;
    if (docker.trouble !== null) warn(`Docker is away, this is what was seen last: ${docker.trouble}`);
    if (args.json) return printJson(orphans);
    if (orphans.length === 0) return note("nothing is left over here");
    const rows = orphans.map((orphan) => [
      orphan.name,
      String(orphan.containers),
      printable(orphan.reason) || "the server has not been asked yet",
      whenRemoved(orphan),
    ]);
    for (const line of table(rows, ["project", "containers", "why", "removal"])) print(line);
    for (const line of volumeLines(orphans)) note(line);
    note("Nothing was removed now; the agent does it by itself, once the server has confirmed it again.");
  },
});

/** The commands that remove the data of orphans: the agent never does. */
function volumeLines(orphans: readonly Orphan[]): readonly string[] {
  const volumes = orphans.flatMap((orphan) => orphan.volumes.map(printable));
  if (volumes.length === 0) return [];
  return ["Volumes stay until you remove them:", ...volumes.map((name) => `  docker volume rm ${name}`)];
}

/** "in 42s": whether and when the agent removes it. */
export function whenRemoved({ due, verdict }: Orphan, now = epochOf(wallNow())): string {
  if (due !== null) {
    const left = Date.parse(due) - now;
    return left > 0 ? `in ${humanDuration(left)}` : "when the server confirms it";
  }
  if (verdict === "terminated") return "now";
  return verdict === "kept" ? "never: left as it is" : "not decided: the server is asked again";
}
