// `update-watch`: what the unit of the watcher runs, by the executable of before.
import { missingForHealth } from "../../../agent/health.ts";
import { askStatus } from "../../../agent/control-socket.ts";
import { readUpdateRecord } from "../../../install/update/state.ts";
import { removeWatchUnit } from "../../../install/update/watch-unit.ts";
import { watchUpdate } from "../../../install/update/watcher.ts";
import type { Seen } from "../../../install/update/next.ts";
import { seconds } from "../../../lib/duration.ts";
import { createLog } from "../../../platform/log.ts";
import { command } from "../../command.ts";
import { interruption } from "../../interruption.ts";
import { UPDATE_PATHS } from "./context.ts";

export default command({
  name: "update-watch",
  description: "what an update runs to watch the new version",
  hidden: true,
  args: {
    "state-directory": {
      type: "string",
      required: true,
      description: "where the record is",
      valueHint: "DIR",
    },
  },
  async run({ args }) {
    const directory = args["state-directory"];
    const { signal } = interruption();
    const log = createLog({ level: "info", format: "human" });
    await watchUpdate(
      { stateDirectory: directory, paths: UPDATE_PATHS, ask: () => ask(directory), log },
      signal,
    );
    const { attempt } = readUpdateRecord(directory);
    const isOver = attempt === undefined || attempt.phase === "over";
    if (!signal.aborted && isOver) removeWatchUnit();
  },
});

/** Of the planes that the agent runs: which those are, its status says. */
async function ask(directory: string): Promise<Seen["answer"]> {
  try {
    const status = await askStatus(directory, seconds(3));
    if (status === undefined || status.stopping === true) return undefined;
    const planes = [
      ...(status.noderax === null ? [] : (["noderax"] as const)),
      ...(status.caravanserai ? (["caravanserai"] as const) : []),
    ];
    return { version: status.version, pid: status.pid, missing: missingForHealth(status, planes) };
  } catch {
    return undefined;
  }
}
