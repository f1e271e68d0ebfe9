// The four executables of a release, and the Bun executables that they are made of, out of npm packages.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import manifest from "../package.json";
import { root } from "./bundle.ts";
import { run } from "./release/run.ts";

export const TARGETS = ["linux-x64", "linux-arm64", "linux-x64-musl", "linux-arm64-musl"] as const;
export type Target = (typeof TARGETS)[number];

/** What this machine runs. */
export const host: Target = process.arch === "arm64" ? "linux-arm64" : "linux-x64";

const PACKAGES: Readonly<Record<Target, string>> = {
  "linux-x64": "@oven/bun-linux-x64",
  "linux-arm64": "@oven/bun-linux-aarch64",
  "linux-x64-musl": "@oven/bun-linux-x64-musl",
  "linux-arm64-musl": "@oven/bun-linux-aarch64-musl",
};

/**
 * Unpacks the Bun executable of a target into `directory` and returns its path. The package is fetched once with `npm pack`
 * and kept in `cache`; bun.lock has its hash, which is compared each time.
 */
export function baseExecutable(
  target: Target,
  directory: string,
  cache: string = join(root, "dist/bun"),
): string {
  const version = manifest.devDependencies.bun;
  const [name, file] = [PACKAGES[target], join(cache, `bun-${version}-${target}.tgz`)];
  if (!existsSync(file)) fetchPackage(`${name}@${version}`, cache, file);
  const hash = createHash("sha512").update(readFileSync(file)).digest("base64");
  if (`sha512-${hash}` !== integrityOf(`${name}@${version}`)) {
    rmSync(file);
    throw new Error(
      `${name}@${version} is not the package that bun.lock names; it was removed from ${cache}`,
    );
  }
  run(["tar", "-xzf", file, "-C", directory, "package/bin/bun"]);
  return join(directory, "package/bin/bun");
}

function fetchPackage(what: string, cache: string, file: string): void {
  mkdirSync(cache, { recursive: true });
  const temporary = mkdtempSync(join(cache, ".fetch-"));
  try {
    process.stderr.write(`build: fetching ${what} from the npm registry (once)\n`);
    const packed = run(["npm", "pack", "--silent", "--pack-destination", temporary, what]).trim();
    renameSync(join(temporary, packed), file);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** As bun.lock has it: "sha512-" and base64. */
function integrityOf(what: string): string {
  const lock = readFileSync(join(root, "bun.lock"), "utf8");
  const line = lock.split("\n").find((text) => text.includes(`: ["${what}", `));
  const [, integrity] = /"(sha512-[^"]+)"\],$/.exec(line ?? "") ?? [];
  if (integrity === undefined) throw new Error(`bun.lock does not name ${what}`);
  return integrity;
}
