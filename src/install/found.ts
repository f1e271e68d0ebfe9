// Describes what is at a path, as far as installing and removing need to know it.
import { createHash } from "node:crypto";
import { accessSync, constants, lstatSync, readFileSync, readdirSync, readlinkSync } from "node:fs";
import { dirname } from "node:path";

export type Found =
  | { readonly kind: "missing" }
  | { readonly kind: "file"; readonly hash: string; readonly uid: number; readonly mode: number }
  | { readonly kind: "directory"; readonly uid: number; readonly mode: number; readonly isEmpty: boolean }
  | { readonly kind: "link"; readonly target: string }
  /** Nothing is there, and nothing can be created there. */
  | { readonly kind: "closed" }
  | { readonly kind: "other" };

export const hashOf = (content: string | Uint8Array): string =>
  createHash("sha256").update(content).digest("hex");

/** Returns what is at a path, without following symbolic links. Throws the file system's error, except for a missing path. */
export function inspectPath(path: string): Found {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return { kind: "missing" };
  const { uid } = stat;
  const mode = stat.mode & 0o7777;
  if (stat.isFile()) return { kind: "file", hash: hashOf(readFileSync(path)), uid, mode };
  if (stat.isDirectory()) return { kind: "directory", uid, mode, isEmpty: readdirSync(path).length === 0 };
  if (stat.isSymbolicLink()) return { kind: "link", target: readlinkSync(path) };
  return { kind: "other" };
}

/** As `inspectPath`, for an optional part: "closed" when the directory of a missing path is read-only or missing. */
export function inspectOptionalPath(path: string): Found {
  const found = inspectPath(path);
  if (found.kind !== "missing") return found;
  try {
    accessSync(dirname(path), constants.W_OK);
    return found;
  } catch {
    return { kind: "closed" };
  }
}
