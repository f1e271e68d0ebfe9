// Renames a file or directory so that a new one can take its place and a person can examine the old one.
import { lstatSync, renameSync } from "node:fs";

/**
 * Renames `path` to `<path>.<why>-<time>` and returns the new name. Throws errors of the file system. `why`
 * is part of the file name: "damaged".
 */
export function setAside(path: string, why: string, now = new Date()): string {
  const time = now.toISOString().replace(/[-:]|\.\d+/g, "");
  const base = `${path}.${why}-${time}`;
  let aside = base;
  for (let n = 2; lstatSync(aside, { throwIfNoEntry: false }) !== undefined; n++) aside = `${base}.${n}`;
  renameSync(path, aside);
  return aside;
}
