// apk, versions 2 and 3: Alpine and what derives from it. Pure. Nothing is asked: apk has no questions unless it is told to.
import {
  type FoundPackage,
  type InstalledPackage,
  type PackageManager,
  type PlannedChange,
  flatText,
  plainExit,
} from "./adapter.ts";

/** apk's own wait for its lock, in seconds. */
const LOCK_TIMEOUT = "600";

/** `database` is the directory of apk's database: /lib/apk/db or /usr/lib/apk/db. */
export const apk = (database: string): PackageManager => ({
  name: "apk",
  locks: [{ kind: "record", path: `${database}/lock` }],
  environment: {},
  policy: "configuration files that were changed on this machine are kept (new ones are stored as .apk-new)",
  // The one form that both versions share, and one that blanks and brackets in a description cannot break.
  list: { argv: ["cat", `${database}/installed`], parse: parseInstalled },
  search: (words) => ({ argv: ["apk", "search", "-v", "--", ...words], parse: parseSearch }),
  preview: (action, names) => ({
    argv: ["apk", "--simulate", "--no-progress", ...verbOf(action), "--", ...names],
    parse: parseSimulation,
  }),
  lists: {
    argv: ["apk", "--no-progress", "update"],
    stamps: ["/var/cache/apk", "/var/lib/apk"],
    directory: "/var/cache/apk",
    file: /^APKINDEX\./,
  },
  apply: (action, names) => [
    "apk",
    "--wait",
    LOCK_TIMEOUT,
    "--no-progress",
    ...verbOf(action),
    "--",
    ...names,
  ],
  statusLines: false,
  exitStatus: plainExit,
});

function verbOf(action: string): string[] {
  if (action === "install") return ["add"];
  return action === "purge" ? ["del", "--purge"] : ["del"];
}

/** Blocks of "X:value" lines with an empty line between them: P name, V version, A architecture, T description. */
function parseInstalled(text: string): InstalledPackage[] {
  return text.split(/\n\n+/).flatMap((block) => {
    const field = (key: string): string => new RegExp(`^${key}:(.*)$`, "m").exec(block)?.[1] ?? "";
    const name = field("P");
    if (name === "") return [];
    return [
      {
        name,
        version: field("V"),
        architecture: field("A"),
        description: flatText(field("T")),
        // f: what is wrong with it, a letter each ("f" files, "s" scripts, "x" extended attributes).
        status: field("f") === "" ? ("installed" as const) : ("broken" as const),
      },
    ];
  });
}

/** "name-1.2-r3 - description": a version begins with a digit, and names have dashes. */
function parseSearch(text: string): FoundPackage[] {
  return text.split("\n").flatMap((line) => {
    const [, name = "", version = "", description = ""] =
      /^(\S+)-(\d\S*-r\d+)(?: - (.*))?$/.exec(line.trim()) ?? [];
    return name === "" ? [] : [{ name, version, description: flatText(description) }];
  });
}

const VERBS: Readonly<Record<string, PlannedChange["change"]>> = {
  Installing: "install",
  Upgrading: "upgrade",
  Downgrading: "downgrade",
  Reinstalling: "reinstall",
  Replacing: "upgrade",
  Purging: "remove",
};

/**
 *   (1/2) Installing jq (1.7.1-r0)
 *   (2/2) Upgrading busybox (1.36.1-r15 -> 1.36.1-r19)
 */
function parseSimulation(text: string): PlannedChange[] {
  const lines = text.matchAll(/^\(\s*\d+\/\d+\) (\w+) (\S+) \((?:(\S+) -> )?(\S+)\)/gm);
  return [...lines].flatMap(([, verb = "", name = "", from, version = ""]): PlannedChange[] => {
    const change = VERBS[verb];
    if (change === undefined) return [];
    if (change === "remove") return [{ change, name, from: version }];
    return [{ change, name, ...(from === undefined ? {} : { from }), to: version }];
  });
}
