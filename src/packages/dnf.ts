// dnf, versions 4 and 5: Fedora, RHEL and what derives from them. Pure.
import {
  type ExitMeaning,
  type FoundPackage,
  type PackageManager,
  type PlannedChange,
  FIELD,
  flatText,
} from "./adapter.ts";
import { rpmList } from "./rpm.ts";

/** dnf 4 has the same status for a lock that cannot be had as its manual page says; dnf 5 has 1 for everything. */
const LOCKED = 200;

/** `program` is "dnf" or "dnf5". */
export function dnf(program: string): PackageManager {
  const run = [program, "-y"];
  return {
    name: "dnf",
    locks: [
      { kind: "record", path: "/var/lib/rpm/.rpm.lock" },
      { kind: "record", path: "/usr/lib/sysimage/rpm/.rpm.lock" },
      { kind: "pid", path: "/var/cache/dnf/metadata_lock.pid" },
      { kind: "pid", path: "/var/cache/dnf/download_lock.pid" },
      { kind: "pid", path: "/var/lib/dnf/rpmdb_lock.pid" },
    ],
    environment: {},
    policy: "configuration files that were changed on this machine are kept (new ones are stored as .rpmnew)",
    list: rpmList,
    search: (words) => ({
      argv: [
        program,
        "-q",
        "repoquery",
        "--latest-limit=1",
        program === "dnf5" ? "--queryformat" : "--qf",
        // dnf 5 ends no line by itself, dnf 4 every one.
        ["%{name}", "%{evr}", "%{summary}"].join(FIELD) + (program === "dnf5" ? "\n" : ""),
        "--",
        ...words.map((word) => `*${word.replace(/[[\]*?{}!\\]/g, "?")}*`),
      ],
      parse: parseRepoquery,
    }),
    preview: (action, names) => ({
      argv: [program, "--assumeno", verbOf(action), "--", ...names],
      // The answer "no" to its question ends it with 1.
      alsoFine: [1],
      parse: parseTransaction,
    }),
    download: (names) => [...run, "install", "--downloadonly", "--", ...names],
    apply: (action, names) => [...run, verbOf(action), "--", ...names],
    statusLines: false,
    exitStatus,
  };
}

/** rpm keeps no configuration of a removed package but what was changed: there is nothing to purge. */
const verbOf = (action: string): string => (action === "install" ? "install" : "remove");

function exitStatus(code: number): ExitMeaning {
  if (code === LOCKED) return { ok: false, locked: true, text: "another process holds the lock of dnf" };
  return { ok: code === 0 };
}

function parseRepoquery(text: string): FoundPackage[] {
  return text.split("\n").flatMap((line) => {
    const [name = "", version = "", summary] = line.split(FIELD);
    if (summary === undefined || name === "") return [];
    return [{ name, version: version.replace(/^0:/, ""), description: flatText(summary) }];
  });
}

const SECTIONS: readonly (readonly [RegExp, PlannedChange["change"]])[] = [
  [/^(Installing|Installing dependencies|Installing weak dependencies|Installing group.*):$/, "install"],
  [/^Upgrading:$/, "upgrade"],
  [/^Downgrading:$/, "downgrade"],
  [/^Reinstalling:$/, "reinstall"],
  [/^(Removing|Removing dependent packages|Removing unused dependencies):$/, "remove"],
];

/**
 * Reads the table of a transaction: " name arch version repository size", where a long name has a line of its own. The only
 * form that every dnf has: a stored transaction is "considered unstable" by its manual.
 */
function parseTransaction(text: string): PlannedChange[] {
  const changes: PlannedChange[] = [];
  let section: PlannedChange["change"] | undefined;
  let longName = "";
  for (const line of text.split("\n")) {
    if (!line.startsWith(" ")) {
      section = SECTIONS.find(([title]) => title.test(line.trim()))?.[1];
      longName = "";
      continue;
    }
    const words = `${longName} ${line}`.trim().split(/\s+/);
    longName = words.length === 1 ? (words[0] ?? "") : "";
    const [name, , version] = words;
    // dnf 5 says below an upgrade what it replaces.
    if (section === undefined || name === undefined || version === undefined || name === "replacing")
      continue;
    const known = version.replace(/^0:/, "");
    changes.push({
      change: section,
      name,
      ...(section === "remove" ? { from: known } : { to: known }),
    });
  }
  return changes;
}
