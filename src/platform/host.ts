// Facts about this machine, as the control planes want to hear them.
import { readFileSync } from "node:fs";
import { arch, hostname, release } from "node:os";

export interface Host {
  readonly hostname: string;
  readonly os: string;
  /** Go's names, which the servers compare with: "amd64", "arm64". */
  readonly arch: string;
  /** "Debian GNU/Linux 12 (bookworm)" */
  readonly platformVersion: string;
  readonly kernelVersion: string;
}

/** Never throws and leaves no field empty: the control plane refuses empty strings. Cut to its column widths. */
export function readHost(osRelease = readOsRelease()): Host {
  const machine = arch();
  return {
    hostname: hostname() || "localhost",
    os: "linux",
    arch: machine === "x64" ? "amd64" : machine,
    platformVersion:
      (osRelease.get("PRETTY_NAME") ?? osRelease.get("NAME") ?? "Linux").slice(0, 120) || "Linux",
    kernelVersion: release().slice(0, 120) || "unknown",
  };
}

/** The pairs of an os-release file, quotes removed. */
export function parseOsRelease(text: string): Map<string, string> {
  const pairs = new Map<string, string>();
  for (const [, key, value] of text.matchAll(/^([A-Z_0-9]+)=(.*)$/gm)) {
    pairs.set(key ?? "", (value ?? "").replace(/^(["'])(.*)\1$/, "$2"));
  }
  return pairs;
}

function readOsRelease(): Map<string, string> {
  for (const path of ["/etc/os-release", "/usr/lib/os-release"]) {
    try {
      return parseOsRelease(readFileSync(path, "utf8"));
    } catch {
      // The next place; a machine without either is just "Linux".
    }
  }
  return new Map();
}
