// The executables that install.sh and updates download: plain, and compressed.
import { createHash } from "node:crypto";
import { copyFileSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Target } from "../targets.ts";
import { type Release, artefactName } from "./release.ts";

export interface PublishedFile {
  readonly file: string;
  /** Hexadecimal. */
  readonly sha256: string;
  readonly size: number;
}

export interface PublishedPatch extends PublishedFile {
  /** The version that it turns into this one, and the hash of its executable. */
  readonly from: string;
  readonly fromSha256: string;
}

export interface PublishedBuild extends PublishedFile {
  readonly compressed: PublishedFile;
  readonly patches: readonly PublishedPatch[];
}

/** Publishes an executable under the name of its target, and compressed. */
export function publishExecutable(
  release: Release,
  target: Target,
  executable: string,
): Omit<PublishedBuild, "patches"> {
  const name = artefactName(release, target);
  const path = join(release.directory, name);
  copyFileSync(executable, path);
  // As small as level 9 of zlib, in a third of its time; without a time in the header.
  writeFileSync(`${path}.gz`, Bun.gzipSync(readFileSync(path), { library: "libdeflate", level: 6 }));
  return { ...published(release, name), compressed: published(release, `${name}.gz`) };
}

/** Describes a file of the release. */
export function published({ directory }: Pick<Release, "directory">, file: string): PublishedFile {
  const path = join(directory, file);
  return { file, sha256: sha256Of(path), size: statSync(path).size };
}

/** Hexadecimal. */
export const sha256Of = (path: string): string =>
  createHash("sha256").update(readFileSync(path)).digest("hex");
