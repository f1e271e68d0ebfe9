// `uninstall`: removes what `install` created, and nothing else; data only with --purge.
import { existsSync, rmSync } from "node:fs";
import { removeAll } from "../../install/apply.ts";
import { type Found, inspectPath } from "../../install/found.ts";
import { type Manifest, readManifest, writeManifest } from "../../install/manifest.ts";
import { packageOwner } from "../../install/package-owner.ts";
import { places } from "../../install/places.ts";
import { planUninstall } from "../../install/plan.ts";
import { endWhatRuns, initSystem, manage, serviceState } from "../../install/service.ts";
import { stopWatcher } from "../../install/update/watch-unit.ts";
import { AgentError, exit } from "../../lib/agent-error.ts";
import { findAccount, isRoot } from "../../platform/account.ts";
import { command } from "../command.ts";
import { note, paint, print } from "../ui/output.ts";

export default command({
  name: "uninstall",
  description: "stop the service and remove what install has made",
  examples: ["uninstall --dry-run", "uninstall", "uninstall --purge"],
  args: {
    purge: { type: "boolean", description: "configuration, identity, output of tasks and the user too" },
    "dry-run": { type: "boolean", description: "print what would be done and do nothing" },
  },
  run({ args }): void {
    if (!isRoot())
      throw new AgentError("install.root", "uninstall changes the system: it must run as root", {
        hint: "Run it with sudo:  sudo noderax-agent uninstall",
        exit: exit.refused,
      });
    const owner = packageOwner();
    if (owner !== undefined)
      throw new AgentError("install.packaged", `noderax-agent is installed by ${owner.manager}`, {
        hint: `Remove it with:  ${owner.removal}`,
        exit: exit.refused,
      });
    const purge = args.purge === true;
    const manifest = readManifest();
    if (manifest === undefined)
      throw new AgentError("install.none", "no installation of this agent is recorded here", {
        hint: `It would be in ${places.manifest}. \`install\` records one, also over an older agent.`,
      });
    const found = new Map(
      manifest.entries.map(({ path, kind }) => [path, kind === "user" ? user(path) : inspectPath(path)]),
    );
    const removal = planUninstall(manifest, found, purge);
    if (args["dry-run"]) {
      for (const { path, kind } of removal.remove)
        print(`remove ${kind === "user" ? "the user " : ""}${path}`);
      for (const path of unrecorded(purge)) print(`remove ${path}`);
      for (const { path, why } of removal.kept) print(`keep ${path}: ${why}`);
      return;
    }
    const init = initSystem();
    if (init === "systemd") stopWatcher();
    if (serviceState(init) !== undefined) {
      manage("stop", init);
      manage("disable", init);
      note("  stopped the service; its tasks and terminals end with it");
    }
    endWhatRuns(init);
    // First: the directories of what is recorded are removed when they are empty.
    for (const path of unrecorded(purge)) rmSync(path, { recursive: true, force: true });
    const { removed, left } = removeAll(removal);
    if (!purge && existsSync(places.manifest)) writeManifest(whatIsLeft(manifest, removed));
    manage("reload", init);
    for (const path of removed) note(`  removed ${path}`);
    for (const { path, why } of removal.kept) note(`  kept ${path}: ${why}`);
    for (const line of left) note(`  left ${line}`);
    print(`${paint.green("✓")} noderax-agent is removed; containers of projects stay as they are`);
  },
});

/** Returns what updates have left, and the data of others for the service: the owner's drop-ins and variables, OpenRC's log. */
const unrecorded = (purge: boolean): readonly string[] =>
  [
    ...OF_UPDATES,
    ...(purge ? [places.dropIns, places.initSettings, places.log, `${places.log}.1`] : []),
  ].filter((path) => existsSync(path));

/** What updates leave in the program's directory. */
const OF_UPDATES = [places.previous, places.downloads];

const user = (name: string): Found =>
  findAccount(name) === undefined ? { kind: "missing" } : { kind: "other" };

/** Returns what a later `uninstall --purge`, or another installation, must know. */
const whatIsLeft = ({ entries }: Manifest, removed: readonly string[]): Manifest => ({
  version: 1,
  entries: entries.filter(({ path }) => !removed.includes(path)),
});
