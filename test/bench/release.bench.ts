// What a release costs to download: the compressed executable, and a patch from that of some work ago.
import { cpSync, mkdirSync, readFileSync, statSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { binary, temporaryDirectory } from "../support/binary.ts";
import type { Bench } from "./bench.ts";

const root = join(import.meta.dir, "../..");
/** About a day of work on this program. */
const COMMITS = 25;

function run(command: readonly string[], cwd = root): void {
  const { success, stderr } = Bun.spawnSync([...command], { cwd, stdin: "ignore" });
  if (!success) throw new Error(`${command.join(" ")}: ${stderr.toString()}`);
}

/** Megabytes of a patch to this executable from one of earlier sources, made by the same tools. */
function patch(): number {
  using directory = temporaryDirectory();
  const at = (name: string): string => join(directory.path, name);
  const sources = ["src", "package.json", "bun.lock", "LICENSE"];
  run(["git", "archive", "--output", at("sources.tar"), `HEAD~${COMMITS}`, ...sources]);
  mkdirSync(at("earlier"));
  run(["tar", "-xf", at("sources.tar"), "-C", at("earlier")]);
  cpSync(join(root, ".ci"), at("earlier/.ci"), { recursive: true });
  symlinkSync(join(root, "node_modules"), at("earlier/node_modules"));
  run([process.execPath, ".ci/build.ts", "--out", at("old/noderax-agent")], at("earlier"));
  const tool = join(root, ".ci/release/make-patch.ts");
  run([process.execPath, tool, at("old/noderax-agent"), join(dirname(binary), "noderax-agent"), at("patch")]);
  return statSync(at("patch")).size / 1e6;
}

export default [
  {
    name: "the executable, compressed",
    unit: "MB",
    run: () =>
      Promise.resolve([Bun.gzipSync(readFileSync(binary), { library: "libdeflate", level: 6 }).length / 1e6]),
  },
  {
    name: `patch over ${COMMITS} commits`,
    unit: "MB",
    limit: 2,
    run: () => Promise.resolve([patch()]),
  },
] satisfies Bench[];
