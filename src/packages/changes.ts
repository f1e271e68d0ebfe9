// Compares two lists of the installed packages: what an operation really did. Pure.
import type { InstalledPackage } from "./adapter.ts";
import type { PackageReport } from "./report.ts";

/** The part of a report that the package database tells. */
export type PackageChanges = Pick<PackageReport, "installed" | "upgraded" | "removed" | "purged" | "broken">;

/** Returns the packages that came, went or changed between two lists, and those that are broken in the second. */
export function changesBetween(
  before: readonly InstalledPackage[],
  after: readonly InstalledPackage[],
): PackageChanges {
  const [old, now] = [versionsOf(before), versionsOf(after)];
  const leftBefore = before.filter(isLeftOver);
  const leftAfter = new Set(after.filter(isLeftOver).map(keyOf));
  const installed: PackageReport["installed"] = [];
  const upgraded: PackageReport["upgraded"] = [];
  const removed: PackageReport["removed"] = [];
  for (const key of new Set([...old.keys(), ...now.keys()])) {
    const gone = [...(old.get(key) ?? [])].filter((one) => now.get(key)?.has(one) !== true);
    const came = [...(now.get(key) ?? [])].filter((one) => old.get(key)?.has(one) !== true);
    const name = nameOf(key);
    const [from, to] = [gone[0], came[0]];
    // Several versions of one package stand side by side with rpm (kernels): then each comes and goes by itself.
    if (gone.length === 1 && came.length === 1 && from !== undefined && to !== undefined) {
      upgraded.push({ name, from, to });
      continue;
    }
    installed.push(...came.map((version) => ({ name, version })));
    removed.push(...gone.map((version) => ({ name, version })));
  }
  const purged = leftBefore
    .filter((one) => !leftAfter.has(keyOf(one)) && !now.has(keyOf(one)))
    .map(versionOf);
  return {
    installed,
    upgraded,
    removed,
    purged,
    broken: after.filter(({ status }) => status === "broken").map(versionOf),
  };
}

const isLeftOver = ({ status }: InstalledPackage): boolean => status === "config-files";
const versionOf = ({ name, version }: InstalledPackage): PackageReport["removed"][number] => ({
  name,
  version,
});
const keyOf = ({ name, architecture }: InstalledPackage): string => `${name} ${architecture}`;
const nameOf = (key: string): string => key.slice(0, key.indexOf(" "));

function versionsOf(packages: readonly InstalledPackage[]): Map<string, Set<string>> {
  const versions = new Map<string, Set<string>>();
  for (const one of packages) {
    if (isLeftOver(one)) continue;
    const known = versions.get(keyOf(one));
    if (known === undefined) versions.set(keyOf(one), new Set([one.version]));
    else known.add(one.version);
  }
  return versions;
}

/** The lines of the log about changes: "installed nginx 1.22.1-9", "upgraded curl 7.88.1-10 → 7.88.1-15". */
export function changeLines({ installed, upgraded, removed, purged }: PackageChanges): string[] {
  const gone = new Set(purged.map(({ name }) => name));
  return [
    ...installed.map(({ name, version }) => `installed ${name} ${version}`),
    ...upgraded.map(({ name, from, to }) => `upgraded ${name} ${from} → ${to}`),
    ...removed.filter(({ name }) => !gone.has(name)).map(({ name, version }) => `removed ${name} ${version}`),
    ...purged.map(({ name, version }) => `purged ${name} ${version}`),
  ];
}
