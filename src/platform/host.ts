// Reads the facts about this machine that the control planes ask for.
import { readFileSync } from "node:fs";
import { arch, hostname, release } from "node:os";

export interface Host {
  readonly hostname: string;
  readonly os: string;
  /** By the names of Go, which the servers use: "amd64", "arm64". */
  readonly arch: string;
  /** "Debian GNU/Linux 12 (bookworm)" */
  readonly platformVersion: string;
  readonly kernelVersion: string;
}

/** Never throws. Leaves no field empty, which the control plane refuses; cuts them to its column widths. */
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

/** Parses an os-release file; removes quotes. */
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
      // Try the next path; a machine without either is "Linux".
    }
  }
  return new Map();
}
