// The documents of a release place, parsed, and what is chosen from them. Pure.
import { arch } from "node:os";
import * as v from "valibot";
import { MIB } from "../../lib/size.ts";
import { PRODUCT } from "./signature.ts";

/** Bytes. Our executable has 118 MB; a place cannot make us write more than this. */
const ARTEFACT_MAX = 512 * MIB;
const VERSIONS_MAX = 1_000;

const VersionText = v.pipe(v.string(), v.regex(/^\d{1,6}\.\d{1,6}\.\d{1,6}(-[0-9A-Za-z.-]{1,40})?$/));
/** One name in the directory of the manifest. */
const FileName = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9._+-]{0,199}$/));
const Sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const ArtefactSize = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(ARTEFACT_MAX));

/** A file to download; `size` in bytes. */
const Artefact = v.object({ file: FileName, sha256: Sha256, size: ArtefactSize });
export type Artefact = v.InferOutput<typeof Artefact>;

const Patch = v.object({ ...Artefact.entries, from: VersionText, fromSha256: Sha256 });

const Build = v.object({
  ...Artefact.entries,
  compressed: v.optional(Artefact),
  patches: v.optional(v.pipe(v.array(Patch), v.maxLength(100)), []),
});
export type Build = v.InferOutput<typeof Build>;

export const Catalog = v.object({
  product: v.literal(PRODUCT),
  latest: VersionText,
  versions: v.pipe(
    v.array(
      v.object({
        version: VersionText,
        publishedAt: v.optional(v.string()),
        manifest: v.pipe(v.string(), v.regex(/^[A-Za-z0-9._-]+\/release-manifest\.json$/)),
      }),
    ),
    v.maxLength(VERSIONS_MAX),
  ),
});
export type Catalog = v.InferOutput<typeof Catalog>;

export const ReleaseManifest = v.object({
  product: v.literal(PRODUCT),
  version: VersionText,
  publishedAt: v.optional(v.string()),
  /** The oldest version that can be updated to this one in one step. */
  minimumVersion: v.optional(VersionText),
  notes: v.optional(v.array(v.object({ title: v.string(), items: v.array(v.string()) })), []),
  builds: v.record(v.string(), Build),
});
export type ReleaseManifest = v.InferOutput<typeof ReleaseManifest>;

/** Whether a text is a version as releases have them: three numbers, and what comes before a release. */
export const isVersion = (text: string): boolean => v.is(VersionText, text);

/** Returns less than 0 when `a` is older than `b`. A text that is no version counts as the oldest. */
export function compareVersions(a: string, b: string): number {
  if (!isVersion(a) || !isVersion(b)) return Number(isVersion(a)) - Number(isVersion(b));
  return Bun.semver.order(a, b);
}

/** Returns the name of the build for this machine: "linux-x64", "linux-arm64-musl". */
export const buildName = (libc: "glibc" | "musl", architecture: string = arch()): string =>
  `linux-${architecture}${libc === "musl" ? "-musl" : ""}`;

/** One way to get the new executable. */
export type Source =
  | { readonly by: "patch"; readonly artefact: Artefact }
  | { readonly by: "compressed"; readonly artefact: Artefact }
  | { readonly by: "plain"; readonly artefact: Artefact };

/** Lists the ways to get a build, the smallest first; a patch only from exactly the executable that runs here. */
export function sourcesOf(build: Build, own: { readonly sha256: string }): readonly Source[] {
  const { compressed, patches, file, sha256, size } = build;
  const patch = patches.find(({ fromSha256 }) => fromSha256 === own.sha256);
  return [
    ...(patch === undefined ? [] : [{ by: "patch", artefact: patch } as const]),
    ...(compressed === undefined ? [] : [{ by: "compressed", artefact: compressed } as const]),
    { by: "plain", artefact: { file, sha256, size } },
  ];
}

/** Bytes beside the artefacts: a copy of the database for the self-test, and room for the agent to go on. */
const MARGIN = 32 * MIB;

/** Bytes that must be free for an update: the new executable and what is downloaded for it. The old one exists already. */
export const spaceNeeded = (build: Build, source: Source): number =>
  build.size + (source.by === "plain" ? 0 : source.artefact.size) + MARGIN;
