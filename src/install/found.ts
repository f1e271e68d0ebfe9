// Looks at what is at a path, as far as installing and removing need to know it.
import { createHash } from "node:crypto";
import { accessSync, constants, lstatSync, readFileSync, readdirSync, readlinkSync } from "node:fs";
import { dirname } from "node:path";

export type Found =
  | { readonly kind: "missing" }
  | { readonly kind: "file"; readonly hash: string; readonly uid: number; readonly mode: number }
  | { readonly kind: "directory"; readonly uid: number; readonly mode: number; readonly isEmpty: boolean }
  | { readonly kind: "link"; readonly target: string }
  /** Nothing is there, and nothing can be made there. */
  | { readonly kind: "closed" }
  | { readonly kind: "other" };

export const hashOf = (content: string | Uint8Array): string =>
  createHash("sha256").update(content).digest("hex");

/** Symbolic links are not followed. Throws what the file system says, but for a path that is not there. */
export function look(path: string): Found {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return { kind: "missing" };
  const { uid } = stat;
  const mode = stat.mode & 0o7777;
  if (stat.isFile()) return { kind: "file", hash: hashOf(readFileSync(path)), uid, mode };
  if (stat.isDirectory()) return { kind: "directory", uid, mode, isEmpty: readdirSync(path).length === 0 };
  if (stat.isSymbolicLink()) return { kind: "link", target: readlinkSync(path) };
  return { kind: "other" };
}

/** The same for what an installation can do without: "closed" in a directory that is read-only or not there. */
export function lookForOptional(path: string): Found {
  const found = look(path);
  if (found.kind !== "missing") return found;
  try {
    accessSync(dirname(path), constants.W_OK);
    return found;
  } catch {
    return { kind: "closed" };
  }
}
