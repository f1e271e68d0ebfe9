// Makes a release in dist/release: `npm run release`, or `bun .ci/release.ts [--out DIR] [--place URL] [--executable FILE]`.
// Same input, same bytes: every time in it is that of the commit.
import { mkdirSync, rmSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import manifest from "../package.json";
import { publishExecutable } from "./release/artefacts.ts";
import { writeChecksums } from "./release/checksums.ts";
import { buildDeb } from "./release/deb.ts";
import { packageFiles } from "./release/files.ts";
import { publishScript } from "./release/install-script.ts";
import { buildRpm } from "./release/rpm.ts";
import { run } from "./release/run.ts";
import type { Release } from "./release/release.ts";

// The modes of files are part of their bytes in a package.
process.umask(0o022);

const root = join(import.meta.dir, "..");
const { values: flags } = parseArgs({
  args: Bun.argv.slice(2),
  options: {
    out: { type: "string", default: join(root, "dist/release") },
    /** Where the files will be published; {version} stands for the version. */
    place: { type: "string", default: "" },
    executable: { type: "string", default: join(root, "dist/noderax-agent") },
  },
});

const committed = run(["git", "log", "-1", "--format=%ct"], { cwd: root }).trim();
const release: Release = {
  version: manifest.version,
  directory: resolve(flags.out),
  cpu: process.arch === "arm64" ? "arm64" : "x64",
  seconds: Number(process.env["SOURCE_DATE_EPOCH"] ?? committed),
};
rmSync(release.directory, { recursive: true, force: true });
mkdirSync(release.directory, { recursive: true });

const executable = resolve(flags.executable);
const artefacts = publishExecutable(release, executable);
const sums = writeChecksums(release, artefacts);
publishScript(release, { script: join(root, "install.sh"), place: flags.place, sums });
const files = packageFiles(executable);
for (const [tool, build] of [
  ["dpkg-deb", buildDeb],
  ["rpmbuild", buildRpm],
] as const) {
  if (Bun.which(tool) === null)
    process.stderr.write(`release: there is no ${tool} here, so none of its packages\n`);
  else build(release, files);
}
process.stderr.write(`release: ${release.version} in ${relative(process.cwd(), release.directory) || "."}\n`);
