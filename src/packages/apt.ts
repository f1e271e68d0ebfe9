// apt and dpkg: Debian, Ubuntu and what derives from them. Pure.
import {
  type FoundPackage,
  type InstalledPackage,
  type PackageManager,
  type PackageStatus,
  type PlannedChange,
  FIELD,
  RECORD,
  escapeRegex,
  flatText,
  plainExit,
  recordsOf,
} from "./adapter.ts";

/** Wait of apt itself, in seconds, for a lock that was taken between our check and its start. */
const LOCK_TIMEOUT = 600;

const CONFFILES = ["--force-confdef", "--force-confold"];

const APPLY = [
  "apt-get",
  "-y",
  "-o",
  `DPkg::Lock::Timeout=${LOCK_TIMEOUT}`,
  "-o",
  "APT::Status-Fd=3",
  "-o",
  "Dpkg::Use-Pty=0",
  ...CONFFILES.flatMap((option) => ["-o", `Dpkg::Options::=${option}`]),
];

const FIELDS = ["db:Status-Abbrev", "binary:Package", "Version", "Architecture", "binary:Summary"];
const FORMAT = FIELDS.map((field) => `\${${field}}`).join(FIELD) + RECORD;

export const apt: PackageManager = {
  name: "apt",
  locks: [
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
  ].map((path) => ({ kind: "record", path })),
  environment: {
    DEBIAN_FRONTEND: "noninteractive",
    DEBIAN_PRIORITY: "critical",
    // On Ubuntu needrestart would restart services, or ask; what needs a restart is reported instead.
    NEEDRESTART_MODE: "l",
    NEEDRESTART_SUSPEND: "1",
    APT_LISTCHANGES_FRONTEND: "none",
  },
  policy: "configuration files that were changed on this machine are kept (--force-confdef --force-confold)",
  list: { argv: ["dpkg-query", "-W", "-f", FORMAT], parse: parseInstalled },
  search: (words) => ({
    argv: ["apt-cache", "search", "--", ...words.map(escapeRegex)],
    parse: parseSearch,
  }),
  versions: (_, names) => ({ argv: ["apt-cache", "policy", "--", ...names], parse: parsePolicy }),
  known: (names) => ({
    argv: ["apt-cache", "policy", "--", ...names],
    parse: (text) => new Set(headersOf(text)),
  }),
  preview: (action, names) => ({
    argv: ["apt-get", "-s", "-y", "-o", "Debug::NoLocking=true", action, "--", ...names],
    parse: parseSimulation,
  }),
  lists: {
    argv: ["apt-get", "-y", "-o", "APT::Update::Error-Mode=any", "update"],
    stamps: [
      "/var/lib/apt/lists",
      "/var/lib/apt/lists/partial",
      "/var/lib/apt/periodic/update-success-stamp",
    ],
    directory: "/var/lib/apt/lists",
    file: /_Packages/,
  },
  repair: {
    argv: ["dpkg", ...CONFFILES, "--configure", "-a"],
    directory: "/var/lib/dpkg/updates",
    file: /^\d+$/,
  },
  download: (names) => [...APPLY, "--download-only", "install", "--", ...names],
  apply: (action, names) => [...APPLY, action, "--", ...names],
  statusLines: true,
  exitStatus: plainExit,
};

function parseInstalled(text: string): InstalledPackage[] {
  return recordsOf(text).flatMap(
    ([abbreviation = "", name = "", version = "", architecture = "", summary = ""]) => {
      const status = statusOf(abbreviation);
      if (status === undefined || name === "") return [];
      return [{ name, version, architecture, description: flatText(summary), status }];
    },
  );
}

/** Desired action, state and error flag: "ii ", "hi ", "rc ", "iF ", "iiR"; undefined for a package that is not there. */
function statusOf(abbreviation: string): PackageStatus | undefined {
  const [wanted = "", state = "", error = " "] = abbreviation;
  if (state === "n" || state === "") return undefined;
  if (state === "c") return "config-files";
  if (state !== "i" || error.trim() !== "") return "broken";
  return wanted === "h" ? "held" : "installed";
}

/** "name - summary" a line. */
function parseSearch(text: string): FoundPackage[] {
  return text.split("\n").flatMap((line) => {
    const at = line.indexOf(" - ");
    if (at <= 0) return [];
    return [{ name: line.slice(0, at), version: "", description: flatText(line.slice(at + 3)) }];
  });
}

/** The names that `apt-cache policy` has a block of. */
const headersOf = (text: string): string[] => [...text.matchAll(/^(\S+):$/gm)].map(([, name = ""]) => name);

/** The candidate of each package; without one, the version that is installed. */
function parsePolicy(text: string): Map<string, string> {
  const versions = new Map<string, string>();
  for (const block of text.split(/^(?=\S+:$)/m)) {
    const name = /^(\S+):$/m.exec(block)?.[1];
    const version = ["Candidate", "Installed"]
      .map((key) => new RegExp(`^  ${key}: (\\S+)$`, "m").exec(block)?.[1])
      .find((value) => value !== undefined && value !== "(none)");
    if (name !== undefined && version !== undefined) versions.set(name, version);
  }
  return versions;
}

/**
 *   Inst nxhello [1.0] (2.0 localhost [all])     with the old version where there is one
 *   Remv nxhello [1.0]
 *   Purg nxhello [1.0]                           without a version when only its configuration is left
 */
function parseSimulation(text: string): PlannedChange[] {
  const lines = text.matchAll(/^(Inst|Remv|Purg) (\S+)(?: \[([^\]]+)\])?(?: \((\S+) [^\n]*)?/gm);
  return [...lines].map(([, verb, name = "", from, to]): PlannedChange => {
    const versions = { ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) };
    if (verb === "Remv") return { change: "remove", name, ...versions };
    if (verb === "Purg") return { change: "purge", name, ...versions };
    if (from === undefined) return { change: "install", name, ...versions };
    return { change: from === to ? "reinstall" : "upgrade", name, ...versions };
  });
}
