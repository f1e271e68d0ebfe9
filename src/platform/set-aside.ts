// Moves a file or directory out of the way, beside itself, so that a person can look at it later.
import { lstatSync, renameSync } from "node:fs";

/**
 * Renames `path` to `<path>.<why>-<time>` and returns the new name. Throws what the file system says. `why` is part of a
 * file name: "damaged".
 */
export function setAside(path: string, why: string, now = new Date()): string {
  const time = now.toISOString().replace(/[-:]|\.\d+/g, "");
  const base = `${path}.${why}-${time}`;
  let aside = base;
  for (let n = 2; lstatSync(aside, { throwIfNoEntry: false }) !== undefined; n++) aside = `${base}.${n}`;
  renameSync(path, aside);
  return aside;
}
