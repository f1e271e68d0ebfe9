// Patches from the executables of earlier releases to those of this one.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { applyPatch } from "../../src/install/update/patch.ts";
import { PRODUCT } from "../../src/install/update/signature.ts";
import type { Target } from "../targets.ts";
import { type PublishedBuild, type PublishedPatch, published, sha256Of } from "./artefacts.ts";
import type { ReleaseManifest } from "./manifest.ts";
import type { Release } from "./release.ts";
import { runAsync } from "./run.ts";

export interface EarlierRelease {
  readonly directory: string;
  readonly manifest: ReleaseManifest;
}

/** Reads the releases in these directories. Returns the `count` highest versions below `version`, the highest first. */
export function earlierReleases(
  directories: readonly string[],
  version: string,
  count: number,
): readonly EarlierRelease[] {
  const all = directories.map((directory): EarlierRelease => {
    const text = readFileSync(join(directory, "release-manifest.json"), "utf8");
    const manifest = JSON.parse(text) as ReleaseManifest;
    if (manifest.product !== PRODUCT) throw new Error(`${directory} holds no release of ${PRODUCT}`);
    return { directory, manifest };
  });
  return all
    .filter(({ manifest }) => Bun.semver.order(manifest.version, version) < 0)
    .filter((one, at, list) => list.findIndex((other) => isSameVersion(one, other)) === at)
    .toSorted((a, b) => Bun.semver.order(b.manifest.version, a.manifest.version))
    .slice(0, count);
}

const isSameVersion = (a: EarlierRelease, b: EarlierRelease): boolean =>
  a.manifest.version === b.manifest.version;

/**
 * Makes and publishes them, each tried. A patch of more than half of what it spares is left out: another version of Bun is in
 * the executable.
 */
export async function publishPatches(
  release: Release,
  target: Target,
  build: Omit<PublishedBuild, "patches">,
  earlier: readonly EarlierRelease[],
): Promise<readonly PublishedPatch[]> {
  const patches: PublishedPatch[] = [];
  for (const { directory, manifest } of earlier) {
    const old = manifest.builds[target];
    if (old === undefined || old.sha256 === build.sha256) continue;
    const temporary = mkdtempSync(join(release.directory, ".patch-"));
    try {
      const from = executableOf(directory, old, temporary);
      const file = `noderax-agent-${manifest.version}-to-${release.version}-${target}.patch`;
      const patch = join(release.directory, file);
      await runAsync([
        process.execPath,
        join(import.meta.dir, "make-patch.ts"),
        from,
        join(release.directory, build.file),
        patch,
      ]);
      const paths = { old: from, patch, target: join(temporary, "made") };
      const made = await applyPatch(paths, build.size, new AbortController().signal);
      if (made.sha256 !== build.sha256) throw new Error(`${file} does not make ${build.file}`);
      const described = published(release, file);
      if (described.size > build.compressed.size / 2) rmSync(patch);
      else patches.push({ from: manifest.version, fromSha256: old.sha256, ...described });
    } finally {
      rmSync(temporary, { recursive: true, force: true });
    }
  }
  return patches;
}

/** The path of an earlier executable, which may be kept compressed only. Throws unless it is what its manifest names. */
function executableOf(directory: string, build: PublishedBuild, temporary: string): string {
  let path = join(directory, build.file);
  if (!existsSync(path)) {
    const compressed = readFileSync(join(directory, build.compressed.file));
    path = join(temporary, "old");
    writeFileSync(path, Bun.gunzipSync(compressed));
  }
  if (sha256Of(path) !== build.sha256)
    throw new Error(`${build.file} in ${directory} is not what its manifest names`);
  return path;
}
