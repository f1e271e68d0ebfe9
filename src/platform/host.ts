// Reads the facts about this machine that the control planes ask for.
import { arch, hostname, release } from "node:os";
import { readText } from "./lenient-reads.ts";

export interface Host {
  readonly hostname: string;
  /** The distribution by the id of its os-release: "debian", "ubuntu", "alpine"; "linux" where there is none. */
  readonly os: string;
  /** By the names of Go, which the servers use: "amd64", "arm64". */
  readonly arch: string;
  /** The release of the distribution: "12.11", "24.04"; "rolling" where it has none. */
  readonly platformVersion: string;
  /** For people: "Debian GNU/Linux 12 (bookworm)" */
  readonly osImage: string;
  readonly kernelVersion: string;
}

/** Returns the text of a file; undefined when it cannot be read. */
export type ReadText = (path: string) => string | undefined;

/** Never throws. Leaves no field empty, which the control plane refuses; cuts them to its column widths. */
export function readHost(read: ReadText = readText): Host {
  const osRelease = readOsRelease(read);
  const machine = arch();
  const os = (osRelease.get("ID") ?? "").toLowerCase().slice(0, 64) || "linux";
  const image = osRelease.get("PRETTY_NAME") || osRelease.get("NAME") || "Linux";
  return {
    hostname: hostname() || "localhost",
    os,
    arch: machine === "x64" ? "amd64" : machine,
    platformVersion: (pointRelease(os, read) ?? versionOf(osRelease)).slice(0, 120),
    osImage: image.slice(0, 120),
    kernelVersion: release().slice(0, 120) || "unknown",
  };
}

/** Reads the fields of os-release; none where there is no such file. */
export const readOsRelease = (read: ReadText = readText): ReadonlyMap<string, string> =>
  parseOsRelease(read("/etc/os-release") ?? read("/usr/lib/os-release") ?? "");

/** Parses an os-release file; removes quotes. */
export function parseOsRelease(text: string): Map<string, string> {
  const pairs = new Map<string, string>();
  for (const [, key, value] of text.matchAll(/^([A-Z_0-9]+)=(.*)$/gm)) {
    pairs.set(key ?? "", (value ?? "").trim().replace(/^(["'])(.*)\1$/, "$2"));
  }
  return pairs;
}

/** Files with the point release, which os-release of these distributions does not name. */
const POINT_RELEASES = new Map([
  ["debian", "/etc/debian_version"],
  ["raspbian", "/etc/debian_version"],
]);

/** Returns "12.11"; undefined where only os-release knows, as on a Debian that is not released yet ("trixie/sid"). */
function pointRelease(os: string, read: ReadText): string | undefined {
  const path = POINT_RELEASES.get(os);
  const text = path === undefined ? "" : (read(path) ?? "").trim();
  return /^\d[\w.-]*$/.test(text) ? text : undefined;
}

/** Distributions without releases have no VERSION_ID: the BUILD_ID of Arch Linux is "rolling". */
const versionOf = (osRelease: ReadonlyMap<string, string>): string =>
  osRelease.get("VERSION_ID") || osRelease.get("BUILD_ID") || osRelease.get("VERSION_CODENAME") || "unknown";
