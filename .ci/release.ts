// Makes a release: `npm run release -- [--place URL] [--signing-key FILE] [--root-key FILE] …`; CONTRIBUTING.md has the steps.
//
// dist/release becomes an image of the place: catalog.json, install.sh, and a directory for each version. Same input, same
// bytes: every time in it is that of the commit, and the record that lays out the bytecode is published with the rest.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import manifest from "../package.json";
import { verifiedSums } from "../src/install/update/signature.ts";
import { packagesInBundle, root } from "./bundle.ts";
import { type PublishedBuild, publishExecutable } from "./release/artefacts.ts";
import { SUMS, writeChecksums } from "./release/checksums.ts";
import { buildDeb } from "./release/deb.ts";
import { packageFiles } from "./release/files.ts";
import { publishScript } from "./release/install-script.ts";
import { type ReleaseKeys, newKeys, readKeys, signRelease } from "./release/keys.ts";
import { type Catalog, catalogWith, manifestOf } from "./release/manifest.ts";
import { type NoteGroup, notesOf } from "./release/notes.ts";
import { type EarlierRelease, earlierReleases, publishPatches } from "./release/patches.ts";
import { type Release, checkTags } from "./release/release.ts";
import { buildRpm } from "./release/rpm.ts";
import { run, runAsync } from "./release/run.ts";
import { billOfMaterials } from "./release/sbom.ts";
import { TARGETS, type Target, host } from "./targets.ts";

// The modes of files are part of their bytes in a package.
process.umask(0o022);

const { values: flags } = parseArgs({
  args: Bun.argv.slice(2),
  options: {
    /** An image of the place. Earlier versions in it are kept, and patches made from them. */
    out: { type: "string", default: join(root, "dist/release") },
    /** URL of the directory that has catalog.json. */
    place: { type: "string", default: "" },
    target: { type: "string", multiple: true },
    /** TARGET=FILE: publishes this file instead of a build. */
    executable: { type: "string", multiple: true, default: [] },
    "signing-key": { type: "string" },
    "root-key": { type: "string" },
    "signing-keys": { type: "string" },
    "signing-keys-signature": { type: "string" },
    /** Directories of earlier releases, beside those in `out`. */
    previous: { type: "string", multiple: true, default: [] },
    /** From so many earlier releases patches are made. */
    patches: { type: "string", default: "3" },
    /** Older versions are not updated to this one in one step. */
    "minimum-version": { type: "string" },
    /** A record of an earlier build of this version, which gives the same bytes again. */
    "bytecode-order": { type: "string" },
    /** Writes new keys into this directory, and does nothing else. */
    "new-keys": { type: "string" },
  },
});

try {
  await main();
} catch (error) {
  process.stderr.write(`release: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  if (flags["new-keys"] !== undefined) return newKeys(resolve(flags["new-keys"]));
  const begun = performance.now();
  const out = resolve(flags.out);
  const keys = readKeys(flags, process.env);
  // No program that is started from here sees them.
  delete process.env["NODERAX_SIGNING_KEY"];
  delete process.env["NODERAX_ROOT_KEY"];
  const release = describeRelease(out);
  const notes = notesOf(readFileSync(join(root, "CHANGELOG.md"), "utf8"), release.version);
  try {
    rmSync(release.directory, { recursive: true, force: true });
    mkdirSync(release.directory, { recursive: true });
    await fill(release, notes, keys, earlierIn(out, release.version));
  } catch (error) {
    rmSync(release.directory, { recursive: true, force: true });
    throw error;
  }

  const finished = join(out, release.version);
  rmSync(finished, { recursive: true, force: true });
  renameSync(release.directory, finished);
  const catalogFile = join(out, "catalog.json");
  const catalog = catalogWith(earlierCatalog(catalogFile), release);
  write(catalogFile, catalog);
  if (catalog.latest === release.version) copyFileSync(join(finished, "install.sh"), join(out, "install.sh"));
  const took = ((performance.now() - begun) / 1_000).toFixed(0);
  note(`${release.version} in ${relative(process.cwd(), finished) || "."}, ${took} s`);
  if (release.place === "")
    note("WARNING: without --place URL the manifest and install.sh name no place to download from");
  if (release.commit.endsWith("+dirty")) note("WARNING: made of files that are in no commit");
  if (keys === undefined)
    note("WARNING: NOT SIGNED. No agent will update to it. Give --signing-key FILE and --root-key FILE.");
}

/** Makes all files of a version. */
async function fill(
  release: Release,
  notes: readonly NoteGroup[],
  keys: ReleaseKeys | undefined,
  earlier: readonly EarlierRelease[],
): Promise<void> {
  const executables = await executablesFor(release, keys?.roots ?? []);
  const built = await inPairs([...executables], ([target, path]) => publish(release, target, path, earlier));
  packages(release, executables);
  rmSync(builds(release), { recursive: true, force: true });
  write(
    join(release.directory, `noderax-agent-${release.version}.cdx.json`),
    billOfMaterials(release, await packagesInBundle()),
  );
  write(
    join(release.directory, "release-manifest.json"),
    manifestOf(release, notes, Object.fromEntries(built), flags["minimum-version"]),
  );
  const sums = writeChecksums(release);
  const key = keys && signRelease(release.directory, release.version, keys);
  if (keys !== undefined) verify(release, keys.roots);
  publishScript(release, join(root, "install.sh"), sums, key);
}

/** Where executables are built, and removed from again. */
function builds({ directory }: Release): string {
  return join(directory, ".builds");
}

/** Version from package.json, which a tag of the commit must not contradict. */
function describeRelease(out: string): Release {
  const { version } = manifest;
  const git = (...words: string[]): string => run(["git", ...words], { cwd: root }).trim();
  checkTags(version, git("tag", "--points-at", "HEAD").split("\n"));
  const place = flags.place.replace(/\/+$/, "");
  if (place !== "" && !/^https?:\/\/[^{}\s]+$/.test(place))
    throw new Error(`--place ${flags.place} is no URL`);
  return {
    version,
    commit: git("rev-parse", "--short=12", "HEAD") + (git("status", "--porcelain") === "" ? "" : "+dirty"),
    // Beside the finished one of an earlier try, which stays until this one is complete.
    directory: join(out, `.${version}`),
    place,
    seconds: Number(process.env["SOURCE_DATE_EPOCH"] ?? git("log", "-1", "--format=%ct")),
  };
}

function earlierCatalog(path: string): Catalog | undefined {
  if (!existsSync(path)) return undefined;
  try {
    return JSON.parse(readFileSync(path, "utf8")) as Catalog;
  } catch (error) {
    throw new Error(`${path} is no JSON; fetch it again from the place`, { cause: error });
  }
}

/** The executable of each target: given, or built, laid out by the record of a run. */
async function executablesFor(
  release: Release,
  roots: readonly string[],
): Promise<ReadonlyMap<Target, string>> {
  const given = flags.executable.map((text): [Target, string] => {
    const [target = "", path = ""] = text.split(/=(.*)/);
    return [targetNamed(target), resolve(path)];
  });
  if (given.length > 0) return new Map(given);
  const order = join(release.directory, `noderax-agent-${release.version}.bytecode-order`);
  if (flags["bytecode-order"] !== undefined) copyFileSync(flags["bytecode-order"], order);
  else {
    note("recording what an idle agent uses, 20 s");
    const { recordProfile } = await import("./release/profile.ts");
    await recordProfile(order, process.env["DOCKER_HOST"]);
  }
  const targets = flags.target?.map(targetNamed) ?? TARGETS;
  const build = async (target: Target): Promise<readonly [Target, string]> => {
    const path = join(builds(release), target, "noderax-agent");
    const command = [".ci/build.ts", "--target", target, "--out", path, "--bytecode-order", order];
    await runAsync([process.execPath, ...command], { NODERAX_ROOT_KEYS: roots.join(",") }, root);
    return [target, path];
  };
  return new Map(await inPairs(targets, build));
}

function targetNamed(name: string): Target {
  const target = TARGETS.find((known) => known === name);
  if (target === undefined) throw new Error(`unknown target ${name}; there are ${TARGETS.join(", ")}`);
  return target;
}

function earlierIn(out: string, version: string): readonly EarlierRelease[] {
  const inPlace = readdirSync(out)
    .map((name) => join(out, name))
    .filter((directory) => existsSync(join(directory, "release-manifest.json")));
  return earlierReleases(
    [...inPlace, ...flags.previous.map((path) => resolve(path))],
    version,
    Number(flags.patches),
  );
}

async function publish(
  release: Release,
  target: Target,
  path: string,
  earlier: readonly EarlierRelease[],
): Promise<readonly [Target, PublishedBuild]> {
  const build = publishExecutable(release, target, path);
  return [target, { ...build, patches: await publishPatches(release, target, build, earlier) }];
}

/** A .deb and an .rpm for each processor. */
function packages(release: Release, executables: ReadonlyMap<Target, string>): void {
  const speaker = executables.get(host) ?? join(root, "dist/noderax-agent");
  for (const [tool, build] of [
    ["dpkg-deb", buildDeb],
    ["rpmbuild", buildRpm],
  ] as const) {
    if (Bun.which(tool) === null) note(`there is no ${tool} here, so none of its packages`);
    else
      for (const cpu of ["x64", "arm64"] as const) {
        const executable = executables.get(`linux-${cpu}`);
        if (executable !== undefined) build(release, cpu, packageFiles(executable, speaker));
      }
  }
}

/** As an agent will. */
function verify({ directory, version }: Release, roots: readonly string[]): void {
  const read = (name: string): Buffer => readFileSync(join(directory, name));
  const proof = {
    keys: read("signing-keys.json"),
    keysSignatures: read("signing-keys.sig").toString(),
    sums: read(SUMS),
    sumsSignature: read(`${SUMS}.minisig`).toString(),
  };
  verifiedSums(proof, version, roots);
}

/** Two at a time: a build takes 600 MB for a moment. Resolves with the results in the order of the items. */
async function inPairs<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const rest = [...items.entries()];
  const worker = async (): Promise<void> => {
    for (let next = rest.shift(); next !== undefined; next = rest.shift())
      results[next[0]] = await work(next[1]);
  };
  await Promise.all([worker(), worker()]);
  return results;
}

function write(path: string, document: object): void {
  writeFileSync(path, `${JSON.stringify(document, null, 2)}\n`);
}

function note(text: string): void {
  process.stderr.write(`release: ${text}\n`);
}
