// Installs the pinned Bun and the dependencies when they are missing: all it needs is Node (or Bun) and npm.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const local = join(root, "node_modules/.bin/bun");
const stamp = join(root, "node_modules/.setup-stamp");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const version = manifest.devDependencies.bun;

const wanted = createHash("sha256")
  .update(readFileSync(join(root, "bun.lock")))
  .update(JSON.stringify([manifest.dependencies, manifest.devDependencies, process.platform, process.arch]))
  .digest("hex");

if (existsSync(local) && existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) process.exit(0);

console.error(
  `setup: installing the dependencies with bun ${version} (once, and after a change of bun.lock)`,
);
const bootstrap = mkdtempSync(join(tmpdir(), "noderax-setup-"));
try {
  run(pinned(local) ? local : process.versions.bun ? process.execPath : download(), [
    "install",
    "--frozen-lockfile",
  ]);
  // Where install scripts are switched off, the package is a stub until its own installer links the executable.
  if (!pinned(local)) run(process.execPath, [join(root, "node_modules/bun/install.js")]);
  if (!pinned(local)) throw new Error(`node_modules/.bin/bun is not bun ${version}`);
  writeFileSync(stamp, wanted);
} catch (error) {
  console.error(`setup: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  rmSync(bootstrap, { recursive: true, force: true });
}

/** True when the file is an executable bun of the pinned version. */
function pinned(file) {
  return spawnSync(file, ["--version"], { encoding: "utf8" }).stdout?.trim() === version;
}

/**
 * The pinned bun in a temporary directory. Not `npx bun`: npm 12 and `ignore-scripts` block the script that turns that
 * package into an executable, while the platform's package beside it holds the executable itself.
 */
function download() {
  const quiet = ["--no-audit", "--no-fund", "--loglevel=error"];
  run("npm", ["install", "--prefix", bootstrap, "--no-save", "--ignore-scripts", ...quiet, `bun@${version}`]);
  const scope = join(bootstrap, "node_modules/@oven");
  const found = (existsSync(scope) ? readdirSync(scope) : [])
    .map((name) => join(scope, name, "bin/bun"))
    .find((file) => pinned(file));
  if (found === undefined)
    throw new Error(`npm has no bun ${version} for ${process.platform} ${process.arch}`);
  return found;
}

/** Runs quietly; what it said is shown when it fails. */
function run(command, args) {
  const { status, error, stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: "utf8" });
  if (status === 0) return;
  throw new Error(
    `${command} ${args.join(" ")} failed: ${error?.message ?? `exit ${status}`}\n${stdout}${stderr}`,
  );
}
