// Compiles src/main.ts into one executable: `bun .ci/build.ts [--if-stale] [--target linux-arm64] [--out FILE]`.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { bundle, packagesInBundle, root } from "./bundle.ts";
import { licensesText } from "./licenses.ts";
import { TARGETS, type Target, baseExecutable, host } from "./targets.ts";

const name = "noderax-agent";

const { values: flags } = parseArgs({
  args: Bun.argv.slice(2),
  options: {
    "if-stale": { type: "boolean", default: false },
    target: { type: "string", default: host },
    out: { type: "string" },
    /** Records of runs (BUN_BYTECODE_ORDER_OUT): what they used lies together. The most important first. */
    "bytecode-order": { type: "string", multiple: true, default: [] },
    /** By how much later than usual the JIT compiles: measured in test/bench/layout.bench.ts. */
    "jit-policy": { type: "string", default: "4" },
    /** Another version than the package's: tests of updates need several. */
    version: { type: "string" },
  },
});
/** Raw public keys in base64, with commas between: whose releases the executable updates to. */
const rootKeys = process.env["NODERAX_ROOT_KEYS"] ?? "";
if (rootKeys !== "" && rootKeys.split(",").some((key) => Buffer.from(key, "base64").length !== 32))
  fail("NODERAX_ROOT_KEYS must be raw Ed25519 keys in base64, with commas between");
const target = TARGETS.find((known) => known === flags.target) ?? fail(unknownTarget());
// Only this machine's executable carries the plain name: `npm start`, the tests and the bench run that one.
const binary = resolve(flags.out ?? join(root, "dist", ...(target === host ? [] : [target]), name));
const directory = dirname(binary);
const stamp = join(directory, ".stamp");

async function build(target: Target): Promise<void> {
  const started = performance.now();
  mkdirSync(directory, { recursive: true });
  // The outfile's name is embedded, so it must always be the same one; a running executable cannot be written over
  // (ETXTBSY), but it can be replaced. Hence a directory of our own, and a rename.
  const temporary = mkdtempSync(join(directory, ".build-"));
  try {
    const outfile = join(temporary, name);
    const result = await Bun.build({
      ...bundle,
      entrypoints: [...bundle.entrypoints],
      plugins: [...bundle.plugins],
      bytecode: true,
      compile: {
        target: `bun-${target}`,
        outfile,
        ...(target === host ? {} : { executablePath: baseExecutable(target, temporary) }),
        bytecodeOrder: flags["bytecode-order"].length > 0 && flags["bytecode-order"],
        jitPolicy: Number(flags["jit-policy"]),
        // Nothing in the working directory may bring code or settings into a process that runs as root.
        autoloadDotenv: false,
        autoloadBunfig: false,
        autoloadTsconfig: false,
        autoloadPackageJson: false,
        // Refuses `--preload` in BUN_OPTIONS and the debugger of BUN_INSPECT.
        execArgv: ["--disallow-code-generation-from-strings=strict"],
      },
      define: await stamps(),
    });
    for (const message of result.logs) console.error(message);
    if (!result.success) fail("the build failed");
    renameSync(outfile, binary);
    if (flags.out === undefined) await Bun.write(stamp, JSON.stringify(fingerprint()));
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  const size = (statSync(binary).size / 1e6).toFixed(1);
  const took = ((performance.now() - started) / 1000).toFixed(2);
  // Not console.error, which Bun paints red on a terminal: this is good news.
  process.stderr.write(`build: ${relative(root, binary)} for ${target}, ${size} MB in ${took} s\n`);
}

/** What `src/platform/` declares. The date is the commit's, so that the same commit gives the same bytes. */
async function stamps(): Promise<Record<string, string>> {
  const { version } = (await Bun.file(join(root, "package.json")).json()) as { version: string };
  const commit = git("rev-parse", "--short=12", "HEAD");
  const dirty = git("status", "--porcelain") ? "+dirty" : "";
  const seconds = Number(git("log", "-1", "--format=%ct"));
  // Of the module that is loaded to print them, so they take no memory before.
  const licenses = Bun.zstdCompressSync(licensesText(await packagesInBundle()), { level: 19 });
  const values = {
    BUILD_VERSION: flags.version ?? version,
    BUILD_COMMIT: commit ? commit + dirty : "unknown",
    BUILD_DATE: seconds > 0 ? new Date(seconds * 1000).toISOString() : "unknown",
    BUILD_ROOT_KEYS: rootKeys,
    BUILD_LICENSES: licenses.toString("base64"),
    "process.env.NODE_ENV": "production",
  };
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, JSON.stringify(value)]));
}

/** What git says, or nothing: sources may come without git or without a repository. */
function git(...args: string[]): string {
  if (Bun.which("git") === null) return "";
  const { success, stdout } = Bun.spawnSync(["git", ...args], { cwd: root, stderr: "ignore" });
  return success ? stdout.toString().trim() : "";
}

function hashOfInputs(): string {
  const files = [...new Bun.Glob("src/**/*").scanSync({ cwd: root, dot: true })].toSorted((a, b) =>
    a < b ? -1 : 1,
  );
  const tools = ["build", "bundle", "licenses", "targets"].map((tool) => `.ci/${tool}.ts`);
  const hash = createHash("sha256").update(JSON.stringify({ ...flags, "if-stale": false, rootKeys }));
  for (const file of [...files, "package.json", "bun.lock", "LICENSE", ...tools])
    hash.update(`\0${file}\0`).update(readFileSync(join(root, file)));
  return hash.digest("hex");
}

/** The inputs and the very file made of them: of two builds at once only the one whose file stayed counts. */
function fingerprint(): { inputs: string; file: string } {
  const { ino, size, mtimeMs } = statSync(binary);
  return { inputs, file: `${ino} ${size} ${mtimeMs}` };
}

function isFresh(): boolean {
  return (
    existsSync(binary) && existsSync(stamp) && readFileSync(stamp, "utf8") === JSON.stringify(fingerprint())
  );
}

function unknownTarget(): string {
  return `unknown target ${flags.target}; there are ${TARGETS.join(", ")}`;
}

function fail(message: string): never {
  console.error(`build: ${message}`);
  process.exit(1);
}

const inputs = hashOfInputs();
if (!(flags["if-stale"] && isFresh())) await build(target);
