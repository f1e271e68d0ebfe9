// release-manifest.json of one version, and catalog.json of all that a place has. Pure.
import { PRODUCT } from "../../src/install/update/signature.ts";
import type { Target } from "../targets.ts";
import type { PublishedBuild } from "./artefacts.ts";
import type { NoteGroup } from "./notes.ts";
import { type Release, publishedAt } from "./release.ts";

export type Builds = Readonly<Partial<Record<Target, PublishedBuild>>>;

export interface ReleaseManifest {
  readonly product: string;
  readonly version: string;
  readonly publishedAt: string;
  readonly commit: string;
  /** The oldest version that can be updated to this one in one step. */
  readonly minimumVersion?: string;
  readonly channel: "tag";
  readonly notes: readonly NoteGroup[];
  /** As the control plane reads it: by its names of processors, for glibc. */
  readonly artifacts: Readonly<Record<string, { readonly binaryUrl: string; readonly sha256: string }>>;
  readonly builds: Builds;
}

/** Control planes and Debian have these names of processors. */
const PROCESSORS = [
  ["amd64", "linux-x64"],
  ["arm64", "linux-arm64"],
] as const;

export function manifestOf(
  release: Release,
  notes: readonly NoteGroup[],
  builds: Builds,
  minimumVersion?: string,
): ReleaseManifest {
  const { version, commit, place } = release;
  const at = place === "" ? "" : `${place}/${version}/`;
  const artifacts = PROCESSORS.flatMap(([processor, target]) => {
    const build = builds[target];
    return build === undefined ? [] : [[processor, { binaryUrl: at + build.file, sha256: build.sha256 }]];
  });
  return {
    product: PRODUCT,
    version,
    publishedAt: publishedAt(release),
    commit,
    ...(minimumVersion === undefined ? {} : { minimumVersion }),
    channel: "tag",
    notes,
    artifacts: Object.fromEntries(artifacts),
    builds,
  };
}

interface CatalogEntry {
  readonly version: string;
  readonly publishedAt: string;
  readonly manifest: string;
}

export interface Catalog {
  readonly product: string;
  /** The highest that is no pre-release; the highest of all where each is one. */
  readonly latest: string;
  /** The highest first. */
  readonly versions: readonly CatalogEntry[];
}

/** Adds a version to a catalog, or replaces it there. Throws for the catalog of another product. */
export function catalogWith(earlier: Catalog | undefined, release: Release): Catalog {
  if (earlier !== undefined && earlier.product !== PRODUCT)
    throw new Error(`catalog.json is of ${earlier.product}, not of ${PRODUCT}`);
  const { version } = release;
  const entry = { version, publishedAt: publishedAt(release), manifest: `${version}/release-manifest.json` };
  const others = earlier?.versions.filter((other) => other.version !== version) ?? [];
  const versions = [...others, entry].toSorted((a, b) => Bun.semver.order(b.version, a.version));
  const latest = versions.find((one) => !one.version.includes("-")) ?? entry;
  return { product: PRODUCT, latest: latest.version, versions };
}
