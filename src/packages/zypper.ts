// zypper: SUSE and openSUSE. Pure.
import {
  type ExitMeaning,
  type FoundPackage,
  type PackageManager,
  type PlannedChange,
  flatText,
} from "./adapter.ts";
import { rpmList } from "./rpm.ts";

// Global options stand before the command.
const READ = ["zypper", "--non-interactive", "--xmlout"];
const APPLY = ["zypper", "--non-interactive", "--no-color"];

/** zypper's own wait for its lock, in seconds. */
const LOCK_TIMEOUT = "600";

export const zypper: PackageManager = {
  name: "zypper",
  locks: [
    { kind: "pid", path: "/run/zypp.pid" },
    { kind: "record", path: "/var/lib/rpm/.rpm.lock" },
    { kind: "record", path: "/usr/lib/sysimage/rpm/.rpm.lock" },
  ],
  environment: { ZYPP_LOCK_TIMEOUT: LOCK_TIMEOUT },
  policy: "configuration files that were changed on this machine are kept (new ones are stored as .rpmnew)",
  list: rpmList,
  search: (words) => ({ argv: [...READ, "search", "--", ...words], alsoFine: [104], parse: parseSearch }),
  versions: (words) => ({
    argv: [...READ, "search", "-s", "--", ...words],
    alsoFine: [104],
    parse: parseVersions,
  }),
  preview: (action, names) => ({
    argv: [...READ, verbOf(action), "--dry-run", "--", ...names],
    alsoFine: [102, 103, 106],
    parse: parseSummary,
  }),
  download: (names) => [...APPLY, "install", "--download-only", "--", ...names],
  apply: (action, names) => [...APPLY, verbOf(action), "--", ...names],
  statusLines: false,
  exitStatus,
};

const verbOf = (action: string): string => (action === "install" ? "install" : "remove");

/** zypper(8), EXIT CODES. */
function exitStatus(code: number): ExitMeaning {
  switch (code) {
    case 7:
      return { ok: false, locked: true, text: "another process holds the lock of zypp (often PackageKit)" };
    case 102:
      return { ok: true, rebootRequired: true };
    case 103:
      return { ok: true, text: "zypper was updated itself: run the same once more" };
    case 104:
      return { ok: false, text: "no package of this name was found" };
    case 106:
      return { ok: true, text: "a repository could not be refreshed and was left out" };
    case 107:
      return { ok: false, text: "the packages were installed, but a script of one of them failed" };
    default:
      return { ok: code === 0 };
  }
}

/** The attributes of every element of this name. Plugins may print other text before the document. */
function elements(text: string, name: string): ReadonlyMap<string, string>[] {
  const tags = text
    .slice(Math.max(0, text.indexOf("<?xml")))
    .matchAll(new RegExp(`<${name}\\s([^>]*)>`, "g"));
  return [...tags].map(
    ([, attributes = ""]) =>
      new Map(
        [...attributes.matchAll(/([\w-]+)="([^"]*)"/g)].map(([, key = "", value = ""]) => [
          key,
          unescape(value),
        ]),
      ),
  );
}

const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
const unescape = (text: string): string =>
  text.replace(/&(amp|lt|gt|quot|apos);/g, (_, name: string) => ENTITIES[name] ?? "");

const isPackage = (element: ReadonlyMap<string, string>): boolean =>
  (element.get("kind") ?? element.get("type")) === "package";

function parseSearch(text: string): FoundPackage[] {
  return elements(text, "solvable")
    .filter(isPackage)
    .map((found) => ({
      name: found.get("name") ?? "",
      version: found.get("edition") ?? "",
      description: flatText(found.get("summary") ?? ""),
    }));
}

/** The newest stands first. */
function parseVersions(text: string): Map<string, string> {
  const versions = new Map<string, string>();
  for (const { name, version } of parseSearch(text)) if (!versions.has(name)) versions.set(name, version);
  return versions;
}

const LISTS: readonly (readonly [string, PlannedChange["change"]])[] = [
  ["to-install", "install"],
  ["to-upgrade", "upgrade"],
  ["to-upgrade-change-arch", "upgrade"],
  ["to-downgrade", "downgrade"],
  ["to-downgrade-change-arch", "downgrade"],
  ["to-reinstall", "reinstall"],
  ["to-remove", "remove"],
];

function parseSummary(text: string): PlannedChange[] {
  return LISTS.flatMap(([list, change]) =>
    [...text.matchAll(new RegExp(`<${list}>(.*?)</${list}>`, "gs"))].flatMap(([, content = ""]) =>
      elements(content, "solvable")
        .filter(isPackage)
        .map((one): PlannedChange => {
          const [edition, old] = [one.get("edition"), one.get("edition-old")];
          const from = change === "remove" ? edition : old;
          const to = change === "remove" ? undefined : edition;
          return {
            change,
            name: one.get("name") ?? "",
            ...(from === undefined ? {} : { from }),
            ...(to === undefined ? {} : { to }),
          };
        }),
    ),
  );
}
