// Answers questions about packages: what is installed, what there is, what an operation would do. Changes nothing.
import { existsSync } from "node:fs";
import { AgentError } from "../lib/agent-error.ts";
import { SYSTEM_PATH } from "../platform/account.ts";
import { readOsRelease } from "../platform/host.ts";
import { type DetectedManager, MANAGERS, detectManager, distributionOf } from "./detect.ts";
import type {
  FoundPackage,
  InstalledPackage,
  PackageAction,
  PackageManager,
  PlannedChange,
} from "./adapter.ts";
import { bareName, searchWords } from "./names.ts";
import { askManager } from "./program.ts";

/** More than a person reads; the best matches come first. */
const RESULTS_MAX = 500;

/** Chooses the manager of this machine. */
export function detectHere(): DetectedManager {
  return detectManager({
    has: (program) => Bun.which(program, { PATH: SYSTEM_PATH }) !== null,
    exists: existsSync,
    distribution: distributionOf(readOsRelease()),
  });
}

/** Returns the manager of this machine. Throws "packages.none". */
export function requireManager({ manager, immutable } = detectHere()): PackageManager {
  if (manager !== undefined) return manager;
  throw new AgentError("packages.none", immutable ?? `this machine has none of ${MANAGERS}`);
}

/** Returns the manager of a machine whose packages may be changed. Throws "packages.none" with the way to do it elsewhere. */
export function requireMutable(): PackageManager {
  const found = detectHere();
  if (found.immutable !== undefined)
    throw new AgentError("packages.none", `packages are not changed here: ${found.immutable}`);
  return requireManager(found);
}

/** Resolves with the installed packages; one that was removed and left its configuration is not installed. */
export async function listInstalled(
  manager: PackageManager,
  signal?: AbortSignal,
): Promise<InstalledPackage[]> {
  const all = await askManager(manager, manager.list, signal);
  return all.filter(({ status }) => status !== "config-files");
}

export interface SearchResult extends FoundPackage {
  readonly status: "installed" | "available";
}

/** Resolves with at most 500 packages, the best matches first. An empty text finds nothing. */
export async function searchPackages(
  manager: PackageManager,
  text: string,
  signal?: AbortSignal,
): Promise<SearchResult[]> {
  const words = searchWords(text);
  if (words.length === 0) return [];
  const [found, installed] = await Promise.all([
    askManager(manager, manager.search(words), signal),
    listInstalled(manager, signal),
  ]);
  const best = ranked(found, words).slice(0, RESULTS_MAX);
  const names = best.map(({ name }) => name);
  const versions =
    manager.versions === undefined || names.length === 0
      ? new Map<string, string>()
      : await askManager(manager, manager.versions(words, names), signal);
  const here = new Map(installed.map((one) => [one.name, one.version]));
  return best.map((one) => ({
    ...one,
    version: one.version || (versions.get(one.name) ?? here.get(one.name) ?? ""),
    status: here.has(one.name) ? "installed" : "available",
  }));
}

/** Sorts by how well a name matches the first word, then by name; each name once. */
export function ranked(found: readonly FoundPackage[], words: readonly string[]): FoundPackage[] {
  const word = (words[0] ?? "").toLowerCase();
  const rank = (name: string): number => {
    const lower = name.toLowerCase();
    if (lower === word) return 0;
    return lower.startsWith(word) ? 1 : lower.includes(word) ? 2 : 3;
  };
  const byName = new Map(found.map((one) => [one.name, one]));
  return [...byName.values()].sort(
    (a, b) => rank(a.name) - rank(b.name) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  );
}

export interface PackagePreview {
  readonly manager: string;
  readonly changes: readonly PlannedChange[];
  /** What a person should know before: more goes than was asked for, what is held. */
  readonly warnings: readonly string[];
}

/** Resolves with what an operation would do, by the manager's own simulation. Throws "packages.failed" with why it could not be. */
export async function previewChanges(
  manager: PackageManager,
  action: PackageAction,
  names: readonly string[],
  signal?: AbortSignal,
): Promise<PackagePreview> {
  const [changes, installed] = await Promise.all([
    askManager(manager, manager.preview(action, names), signal),
    listInstalled(manager, signal),
  ]);
  return {
    manager: manager.name,
    changes: withOldVersions(changes, installed),
    warnings: [...alsoRemoved(action, names, changes), ...heldAmong(names, installed)],
  };
}

/** Some managers tell only the new version: the old one is that of the installed package. */
const withOldVersions = (
  changes: readonly PlannedChange[],
  installed: readonly InstalledPackage[],
): PlannedChange[] =>
  changes.map((one) => {
    if (one.from !== undefined) return one;
    const from = installed.find(({ name }) => name === one.name)?.version;
    if (from === undefined) return one;
    // pacman prints one format for all.
    const change = one.change !== "install" ? one.change : one.to === from ? "reinstall" : "upgrade";
    return { ...one, change, from };
  });

function alsoRemoved(
  action: PackageAction,
  names: readonly string[],
  changes: readonly PlannedChange[],
): string[] {
  // A manager leaves out the architecture where it is the machine's own.
  const asked = new Set(action === "install" ? [] : names.flatMap((name) => [name, bareName(name)]));
  const more = changes
    .filter(({ change, name }) => (change === "remove" || change === "purge") && !asked.has(name))
    .map(({ name }) => name);
  return more.length === 0 ? [] : [`this also removes ${more.join(", ")}`];
}

function heldAmong(names: readonly string[], installed: readonly InstalledPackage[]): string[] {
  const asked = new Set(names.map(bareName));
  const held = installed.filter(({ status, name }) => status === "held" && asked.has(bareName(name)));
  return held.map(({ name }) => `${name} is held: it is not changed until apt-mark unhold ${name}`);
}
