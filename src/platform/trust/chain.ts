// Reads every directory and symbolic link from / to a path, links resolved, as the kernel passes them.
import { lstatSync, readFileSync, readlinkSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { AgentError, exit } from "../../lib/agent-error.ts";
import type { PathStep } from "./decide.ts";

/** As many links as Linux itself follows. */
const LINKS_MAX = 40;

/**
 * Returns the steps to a path; the last one is "missing" when nothing is there. A directory that is passed
 * twice is listed twice. Throws "trust.links" for too many links, and errors of the file system.
 */
export function readChain(path: string): PathStep[] {
  const steps = [readStep("/")];
  const names = namesOf(isAbsolute(path) ? path : `${process.cwd()}/${path}`);
  let at = "/";
  let links = 0;
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    const step = readStep(join(at, name));
    steps.push(step);
    if (step.kind === "missing" || step.kind === "file") break;
    if (step.kind === "directory") {
      at = step.path;
      continue;
    }
    if (++links > LINKS_MAX)
      throw new AgentError("trust.links", `${path} leads through too many symbolic links`, {
        exit: exit.refused,
      });
    const target = readlinkSync(step.path);
    names.unshift(...namesOf(target));
    if (isAbsolute(target)) at = "/";
    if (names.length === 0) steps.push(readStep(at));
  }
  return steps;
}

/** Keeps "..": after a link it leads elsewhere than the text of the path. */
const namesOf = (path: string): string[] => path.split("/").filter((name) => name !== "" && name !== ".");

/**
 * Returns the owner as this user namespace knows it. Users without a number in it appear as the overflow
 * user; no process in here can become that one, and those outside control us anyway: it counts as root.
 * `uidMap`: /proc/self/uid_map.
 */
export function ownerInside(uid: number, uidMap: string, overflow = OVERFLOW_UID): number {
  if (uid !== overflow) return uid;
  const isMapped = uidMap
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number))
    .some(([first = 0, , count = 0]) => uid >= first && uid < first + count);
  return isMapped ? uid : 0;
}

const OVERFLOW_UID = 65_534;

function readUidMap(): string {
  try {
    return readFileSync("/proc/self/uid_map", "utf8");
  } catch {
    return "0 0 4294967295"; // Without /proc, or without user namespaces in the kernel.
  }
}
let uidMap: string | undefined;

function readStep(path: string): PathStep {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return { path, kind: "missing", uid: 0, mode: 0 };
  const kind = found.isSymbolicLink() ? "link" : found.isDirectory() ? "directory" : "file";
  const uid = ownerInside(found.uid, (uidMap ??= readUidMap()));
  return { path, kind, uid, mode: found.mode & 0o7777 };
}
