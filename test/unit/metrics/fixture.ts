// Machines of the fixtures: one text file each, its kernel files behind lines `-- /path --`.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Filesystem, Machine } from "../../../src/metrics/machine.ts";

const directory = join(import.meta.dir, "../../fixtures/proc");

export type Files = Map<string, string>;

/** The files of a machine; `changes` replaces some, `undefined` takes one away. */
export function fixture(name: string, changes: Record<string, string | undefined> = {}): Files {
  const [, ...parts] = readFileSync(join(directory, `${name}.txt`), "utf8").split(/^-- (\/.*) --\n/m);
  const files: Files = new Map();
  for (let k = 0; k < parts.length; k += 2) files.set(parts[k] ?? "", parts[k + 1] ?? "");
  for (const [path, text] of Object.entries(changes))
    if (text === undefined) files.delete(path);
    else files.set(path, text);
  return files;
}

export const text = (name: string, path: string): string => fixture(name).get(path) ?? "";

/** So many percent full, of 100 GiB. */
export const disk = (used: number): Filesystem => ({
  blockSize: 4_096,
  blocks: 26_214_400,
  free: 262_144 * (100 - used),
  available: 262_144 * (100 - used),
});

/** `files` may be changed while it is used. Mounts without an entry in `disks` do not exist. */
export function machineOf(
  files: Files,
  disks: Record<string, Filesystem | Promise<Filesystem>> = { "/": disk(40) },
): Machine & { readonly reads: string[] } {
  const reads: string[] = [];
  return {
    reads,
    read: async (path) => {
      reads.push(path);
      return files.get(path);
    },
    names: async (directory) => {
      const below = [...files.keys()].filter((path) => path.startsWith(`${directory}/`));
      return [...new Set(below.map((path) => path.slice(directory.length + 1).split("/")[0] ?? ""))];
    },
    filesystem: async (mountPoint) => disks[mountPoint],
  };
}
