// Keeps the package lists fit for an installation: refreshes them when they are missing, old, or do not name a package.
import { statSync } from "node:fs";
import { AgentError } from "../lib/agent-error.ts";
import { epochOf, wallNow } from "../lib/clock.ts";
import { type Duration, days, humanDuration, milliseconds } from "../lib/duration.ts";
import { namesIn } from "../platform/lenient-reads.ts";
import type { PackageManager } from "./adapter.ts";
import { bareName } from "./names.ts";
import type { OperationRun } from "./operation.ts";
import { askManager, runManager } from "./program.ts";

/** Older lists name packages that the repositories have no more. */
const LISTS_MAX_AGE: Duration = days(1);

/**
 * Resolves when the lists name all packages. Lists that cannot be refreshed are a warning. Throws "packages.names" with the
 * names that are no packages, and rejects when the operation is stopped.
 */
export async function refreshLists(run: OperationRun, names: readonly string[]): Promise<void> {
  const { manager, log, stop } = run;
  const { lists } = manager;
  const unknown = await unknownOf(run, names);
  const reason = lists && reasonToRefresh(lists, unknown);
  if (lists !== undefined && reason !== undefined) {
    log.out(`refreshing the package lists: ${reason}`);
    const { code, error } = await runManager(manager, lists.argv, { ...log, status: () => {} }, stop);
    stop.throwIfAborted();
    if (code !== 0) run.warn(`the package lists were not refreshed completely: ${error}`);
  }
  const still = unknown.length === 0 ? [] : await unknownOf(run, names);
  if (still.length > 0)
    throw new AgentError("packages.names", `${manager.name} knows no package ${still.join(", ")}`);
}

type PackageLists = NonNullable<PackageManager["lists"]>;

/** Returns why the lists have to be refreshed; undefined when they need not. */
function reasonToRefresh(lists: PackageLists, unknown: readonly string[]): string | undefined {
  const age = ageOf(lists);
  if (age === undefined) return "there are none";
  if (age > LISTS_MAX_AGE) return `they are ${humanDuration(age)} old`;
  return unknown.length === 0 ? undefined : `they do not name ${unknown.join(", ")}`;
}

/** The names that are no package: apt reads some of them as a pattern, which may match hundreds. */
async function unknownOf({ manager, stop }: OperationRun, names: readonly string[]): Promise<string[]> {
  const bare = [...new Set(names.map(bareName))];
  const known = manager.known && (await askManager(manager, manager.known(bare), stop));
  return known === undefined ? [] : bare.filter((name) => !known.has(name));
}

/** Undefined when there are none. */
function ageOf({ stamps, directory, file }: PackageLists): Duration | undefined {
  if (!namesIn(directory).some((name) => file.test(name))) return undefined;
  const changed = stamps.map((path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0);
  return milliseconds(Math.max(0, epochOf(wallNow()) - Math.max(...changed)));
}
