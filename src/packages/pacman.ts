// pacman: Arch Linux and what derives from it. Pure.
//
// Nothing here refreshes the database: `-Sy` without `-u` makes a partial upgrade of whatever is installed next, which breaks
// systems that roll. An installation takes what the database of the last full upgrade knows.
import {
  type FoundPackage,
  type InstalledPackage,
  type PackageAction,
  type PackageManager,
  type PlannedChange,
  escapeRegex,
  flatText,
  plainExit,
} from "./adapter.ts";

const APPLY = ["pacman", "--noconfirm", "--noprogressbar", "--color", "never"];

export const pacman: PackageManager = {
  name: "pacman",
  locks: [{ kind: "file", path: "/var/lib/pacman/db.lck" }],
  environment: {},
  policy: "configuration files that were changed on this machine are kept (new ones are stored as .pacnew)",
  // 1 without a single package.
  list: { argv: ["pacman", "-Qi"], alsoFine: [1], parse: parseInfo },
  search: (words) => ({
    argv: ["pacman", "--color", "never", "-Ss", "--", ...words.map(escapeRegex)],
    alsoFine: [1],
    parse: parseSearch,
  }),
  preview: (action, names) => ({
    // Without --nosave, which does not go with --print and changes nothing of the plan.
    argv: [
      "pacman",
      action === "install" ? "-S" : "-R",
      "--print",
      "--print-format",
      `${action} %n %v`,
      "--",
      ...names,
    ],
    parse: parsePrint,
  }),
  download: (names) => [...APPLY, "-Sw", "--", ...names],
  apply: (action, names) => [
    ...APPLY,
    ...verbOf(action),
    ...(action === "install" ? ["--needed"] : []),
    "--",
    ...names,
  ],
  statusLines: false,
  exitStatus: plainExit,
};

function verbOf(action: PackageAction): string[] {
  if (action === "install") return ["-S"];
  // Without saving changed configuration files as .pacsave.
  return action === "purge" ? ["-Rn"] : ["-R"];
}

/** "Name            : nxhello" lines, an empty one between packages. */
function parseInfo(text: string): InstalledPackage[] {
  return text.split(/\n\n+/).flatMap((block) => {
    const field = (key: string): string => new RegExp(`^${key} +: (.*)$`, "m").exec(block)?.[1] ?? "";
    const name = field("Name");
    if (name === "") return [];
    return [
      {
        name,
        version: field("Version"),
        architecture: field("Architecture"),
        description: flatText(field("Description")),
        status: "installed" as const,
      },
    ];
  });
}

/** "repository/name version [installed]", then the description on an indented line. */
function parseSearch(text: string): FoundPackage[] {
  const entries = text.matchAll(/^[^\s/]+\/(\S+) (\S+)[^\n]*(?:\n +([^\n]*))?/gm);
  return [...entries].map(([, name = "", version = "", description = ""]) => ({
    name,
    version,
    description: flatText(description),
  }));
}

function parsePrint(text: string): PlannedChange[] {
  return [...text.matchAll(/^(install|remove|purge) (\S+) (\S+)$/gm)].map(
    ([, action, name = "", version = ""]): PlannedChange =>
      action === "install"
        ? { change: "install", name, to: version }
        : { change: action === "purge" ? "purge" : "remove", name, from: version },
  );
}
