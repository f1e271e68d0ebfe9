// Finds a release at its place, verifies it, and makes its executable on this disk.
import { createReadStream, createWriteStream, statSync } from "node:fs";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { AgentError, exit, hasCode, messageOf } from "../../lib/agent-error.ts";
import { humanSize } from "../../lib/size.ts";
import { type UpdatePaths, candidatePath, finishCandidate } from "./files.ts";
import { applyPatch } from "./patch.ts";
import { type Place, type DownloadProgress, download, fetchDocument, parseAs, sha256Of } from "./place.ts";
import { type Build, ReleaseManifest, type Source } from "./release.ts";
import { verifiedSums } from "./signature.ts";

/** A release whose documents are proven to be genuine. */
export interface VerifiedRelease {
  readonly version: string;
  readonly minimumVersion: string | undefined;
  readonly notes: ReleaseManifest["notes"];
  readonly build: Build;
}

/**
 * Fetches and verifies the documents of a release. Throws "update.signature" for what is not signed, "update.version" when the
 * release has no build for this machine, and as `fetchDocument`.
 */
export async function fetchRelease(
  place: Place,
  version: string,
  builds: string,
  roots: readonly string[],
  signal: AbortSignal,
): Promise<VerifiedRelease> {
  const fetched = (name: string): Promise<Uint8Array> => fetchDocument(place, `${version}/${name}`, signal);
  const [keys, keysSignatures, sums, sumsSignature, manifestBytes] = await Promise.all([
    fetched("signing-keys.json"),
    fetched("signing-keys.sig"),
    fetched("SHA256SUMS"),
    fetched("SHA256SUMS.minisig"),
    fetched("release-manifest.json"),
  ]);
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
  const proof = { keys, keysSignatures: text(keysSignatures), sums, sumsSignature: text(sumsSignature) };
  const listed = verifiedSums(proof, version, roots);
  const hash = new Bun.CryptoHasher("sha256").update(manifestBytes).digest("hex");
  if (listed.get("release-manifest.json") !== hash) throw notListed("release-manifest.json");
  const manifest = parseAs(ReleaseManifest, manifestBytes, place, `${version}/release-manifest.json`);
  if (manifest.version !== version)
    throw new AgentError("update.signature", `the manifest of ${version} is of ${manifest.version}`, {
      exit: exit.refused,
    });
  const build = manifest.builds[builds];
  if (build === undefined)
    throw new AgentError("update.version", `version ${version} has no build for ${builds}`, {
      hint: `It has ${Object.keys(manifest.builds).join(", ") || "none"}.`,
      exit: exit.refused,
    });
  for (const artefact of [build, build.compressed, ...build.patches])
    if (artefact !== undefined && listed.get(artefact.file) !== artefact.sha256)
      throw notListed(artefact.file);
  return { version, minimumVersion: manifest.minimumVersion, notes: manifest.notes, build };
}

const notListed = (file: string): AgentError =>
  new AgentError("update.signature", `${file} is not what the signed checksums list`, {
    hint: "Nothing was changed.",
    exit: exit.refused,
  });

export interface FetchReport {
  readonly progress: DownloadProgress;
  /** A way to the executable that failed; the next one is tried. */
  readonly skipped: (text: string) => void;
}

/**
 * Makes the executable of a release the candidate, by the first of `sources` that works. Resolves with the bytes that were
 * downloaded. Throws the failure of the last way.
 */
export async function fetchBuild(
  place: Place,
  { version, build }: VerifiedRelease,
  sources: readonly Source[],
  paths: UpdatePaths,
  report: FetchReport,
  signal: AbortSignal,
): Promise<number> {
  await mkdir(paths.downloads, { recursive: true, mode: 0o700 });
  await keepOnly(
    paths.downloads,
    sources.map(({ artefact }) => artefact.file),
  );
  let bytes = 0;
  for (const [index, source] of sources.entries()) {
    const file = join(paths.downloads, source.artefact.file);
    try {
      await download(place, version, source.artefact, file, report.progress, signal);
      bytes += source.artefact.size;
      await makeCandidate(source, file, build, paths, signal);
      await keepOnly(paths.downloads, []);
      return bytes;
    } catch (error) {
      const isLast = index === sources.length - 1;
      // A full disk or a place that cannot be reached fails every other way, too.
      const isLasting = hasCode(error, "aborted", "update.space", "net.refused", "net.unresolved");
      if (isLast || isLasting) throw error;
      await rm(file, { force: true });
      report.skipped(
        `${source.by === "patch" ? "the patch" : "the compressed file"} does not help (${messageOf(error)})`,
      );
    }
  }
  throw new AgentError("update.download", `version ${version} has no files`);
}

async function makeCandidate(
  { by }: Source,
  file: string,
  build: Build,
  paths: UpdatePaths,
  signal: AbortSignal,
): Promise<void> {
  const candidate = candidatePath(paths);
  await rm(candidate, { force: true });
  if (by === "plain") await rename(file, candidate);
  else if (by === "compressed") await unpack(file, candidate, build.size, signal);
  else await applyPatch({ old: paths.program, patch: file, target: candidate }, build.size, signal);
  const { size } = statSync(candidate);
  if (size === build.size && (await sha256Of(candidate)) === build.sha256) return finishCandidate(candidate);
  await rm(candidate, { force: true });
  throw new AgentError("update.download", `it does not give the executable that its release lists`, {
    exit: exit.refused,
  });
}

/** Unpacks a gzip file, at most `max` bytes of it. */
async function unpack(file: string, target: string, max: number, signal: AbortSignal): Promise<void> {
  let size = 0;
  const limit = new Transform({
    transform(bytes: Buffer, _, done) {
      size += bytes.length;
      const isTooLong = size > max;
      done(isTooLong ? new Error(`it unpacks to more than ${humanSize(max)}`) : null, bytes);
    },
  });
  try {
    await pipeline(
      createReadStream(file),
      createGunzip(),
      limit,
      createWriteStream(target, { mode: 0o700 }),
      { signal },
    );
  } catch (error) {
    if (signal.aborted)
      throw new AgentError("aborted", "interrupted", { exit: exit.interrupted, cause: error });
    const isFull = messageOf(error).includes("ENOSPC");
    throw new AgentError(isFull ? "update.space" : "update.download", messageOf(error), { cause: error });
  }
}

/** Removes what is in the directory but these files and what is there of them. */
async function keepOnly(directory: string, files: readonly string[]): Promise<void> {
  const kept = new Set([
    ...files,
    ...files.map((file) => `${file}.part`),
    ...(files.length === 0 ? ["noderax-agent"] : []),
  ]);
  for (const name of await readdir(directory))
    if (!kept.has(name)) await rm(join(directory, name), { force: true, recursive: true });
}
