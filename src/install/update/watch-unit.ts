// The unit of the watcher: it runs the executable of before, and exists from just before the switch to the end of the watch.
//
// A file, enabled for the boot, and not a transient unit: after a loss of power during the watch, a version that does not
// start would otherwise have nobody to roll it back.
import { existsSync, rmSync } from "node:fs";
import { AgentError } from "../../lib/agent-error.ts";
import { writeFileAtomic } from "../../platform/atomic-file.ts";
import { WATCH_UNIT, places } from "../places.ts";
import { quotedWord } from "../unit.ts";
import { runProgram } from "../service.ts";
import { readUpdateRecord } from "./state.ts";

/** Returns the text of the unit. Pure. */
export function renderWatchUnit(program: string, stateDirectory: string): string {
  return [
    "# Written by an update of noderax-agent, which removes it at its end.",
    "[Unit]",
    "Description=Watches a new version of the Noderax agent, and rolls it back when it does not work",
    `ConditionPathExists=${program}`,
    "StartLimitIntervalSec=0",
    "",
    "[Service]",
    `ExecStart=${quotedWord(program)} update-watch --state-directory ${quotedWord(stateDirectory)}`,
    `EnvironmentFile=-${places.proxy}`,
    "Restart=on-failure",
    "RestartSec=1",
    "UMask=0077",
    "OOMScoreAdjust=-600",
    "",
    "[Install]",
    "WantedBy=multi-user.target",
    "",
  ].join("\n");
}

/** Writes, enables and starts the unit; one that still reports an earlier update is replaced. Throws "update.service". */
export function startWatcher(stateDirectory: string): void {
  writeFileAtomic(places.watchUnit, renderWatchUnit(places.previous, stateDirectory), 0o644);
  systemctl("daemon-reload");
  systemctl("enable", "--quiet", WATCH_UNIT);
  systemctl("restart", "--no-block", WATCH_UNIT);
}

/** Removes the unit. A watcher that calls this runs on to its end. */
export function removeWatchUnit(): void {
  if (!existsSync(places.watchUnit)) return;
  runProgram(["systemctl", "disable", "--quiet", WATCH_UNIT]);
  rmSync(places.watchUnit, { force: true });
  runProgram(["systemctl", "daemon-reload"]);
}

/** Ends the watch, for an agent that is being removed. */
export function stopWatcher(): void {
  runProgram(["systemctl", "stop", WATCH_UNIT]);
  removeWatchUnit();
}

/** Starts the watcher of an update that is going on when it does not run, as after its unit was stopped by hand. */
export function reviveWatcher(stateDirectory: string): void {
  const { attempt } = readUpdateRecord(stateDirectory);
  const isPending = attempt !== undefined && attempt.phase !== "over" && attempt.phase !== "preparing";
  if (!isPending || !existsSync(places.previous)) return;
  const state = runProgram(["systemctl", "is-active", WATCH_UNIT]).stdout.trim();
  if (!["active", "activating"].includes(state)) startWatcher(stateDirectory);
}

function systemctl(...args: string[]): void {
  const { code, stderr } = runProgram(["systemctl", ...args]);
  if (code === 0) return;
  throw new AgentError(
    "update.service",
    `systemctl ${args.join(" ")} failed: ${stderr.trim() || `exit code ${code}`}`,
    {
      hint: "Nothing was changed.",
    },
  );
}
