// Compiles src/main.ts into the one executable: `bun .ci/build.ts [--if-stale] [--target=bun-linux-arm64]`.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { parseArgs } from "node:util";

const root = join(import.meta.dir, "..");
const dist = join(root, "dist");
const name = "noderax-agent";
const targets = ["bun-linux-x64", "bun-linux-arm64"] as const;
type Target = (typeof targets)[number];
const host: Target = process.arch === "arm64" ? "bun-linux-arm64" : "bun-linux-x64";

const { values: flags } = parseArgs({
  args: Bun.argv.slice(2),
  options: { "if-stale": { type: "boolean", default: false }, target: { type: "string", default: host } },
});
const target = targets.find((known) => known === flags.target);
if (target === undefined) fail(`unknown target ${flags.target}; there are ${targets.join(" and ")}`);

// Only this machine's executable carries the plain name: `npm start`, the tests and the bench run that one.
const directory = target === host ? dist : join(dist, target.replace("bun-", ""));
const binary = join(directory, name);
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
      entrypoints: [join(root, "src/main.ts")],
      format: "esm",
      minify: true,
      bytecode: true,
      // What is imported lazily is a module of its own, and costs no memory until then: 2 MB of the idle agent.
      splitting: true,
      env: "disable",
      compile: {
        target,
        outfile,
        // Nothing in the working directory may bring code or settings into a process that runs as root.
        autoloadDotenv: false,
        autoloadBunfig: false,
        autoloadTsconfig: false,
        autoloadPackageJson: false,
        // Refuses `--preload` in BUN_OPTIONS and the debugger of BUN_INSPECT.
        execArgv: ["--disallow-code-generation-from-strings=strict"],
      },
      define: await stamps(),
      plugins: [withoutUnusedTransports, leanRealtimeClient],
      throw: false,
    });
    for (const message of result.logs) console.error(message);
    if (!result.success) fail("the build failed");
    renameSync(outfile, binary);
    await Bun.write(stamp, JSON.stringify(fingerprint()));
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  const size = (statSync(binary).size / 1e6).toFixed(1);
  const took = ((performance.now() - started) / 1000).toFixed(2);
  // Not console.error, which Bun paints red on a terminal: this is good news.
  process.stderr.write(`build: ${relative(root, binary)} for ${target}, ${size} MB in ${took} s\n`);
}

/** dockerode drags in gRPC (BuildKit) and SSH, which we never use: 17 MB of memory, and code generation from strings. */
const withoutUnusedTransports: Bun.BunPlugin = {
  name: "without-unused-transports",
  setup(builder) {
    const unused = /^(@grpc\/grpc-js|@grpc\/proto-loader|protobufjs|ssh2|\.\/session|\.\/ssh)$/;
    builder.onResolve({ filter: unused }, ({ path, importer }) =>
      /[/\\]node_modules[/\\](dockerode|docker-modem)[/\\]/.test(importer)
        ? { path, namespace: "unused" }
        : undefined,
    );
    builder.onLoad({ filter: /.*/, namespace: "unused" }, () => ({
      contents: "module.exports = {};",
      loader: "js",
    }));
  },
};

/**
 * The Socket.IO client as a browser gets it, without `ws`, an XMLHttpRequest and `debug`: the session brings its own
 * websocket. Only what the client itself imports; the sandbox's server keeps the flavours it needs.
 */
const leanRealtimeClient: Bun.BunPlugin = {
  name: "lean-realtime-client",
  setup(builder) {
    const modules = join(root, "node_modules");
    const isClient = (importer: string): boolean =>
      /[/\\]node_modules[/\\](socket|engine)\.io-client[/\\]/.test(importer);
    builder.onResolve({ filter: /^(socket|engine)\.io-client$/ }, ({ path }) => ({
      path: join(modules, path, "build/esm/index.js"),
    }));
    builder.onResolve({ filter: /^socket\.io-parser$/ }, ({ path, importer }) =>
      isClient(importer) ? { path: join(modules, path, "build/esm/index.js") } : undefined,
    );
    // Its package.json names the same counterparts, for browsers.
    builder.onResolve({ filter: /\.node\.js$/ }, ({ path, importer }) =>
      isClient(importer) ? { path: join(dirname(importer), path.replace(/\.node\.js$/, ".js")) } : undefined,
    );
  },
};

/** What `src/platform/build.ts` declares. The date is the commit's, so that the same commit gives the same bytes. */
async function stamps(): Promise<Record<string, string>> {
  const { version } = (await Bun.file(join(root, "package.json")).json()) as { version: string };
  const commit = git("rev-parse", "--short=12", "HEAD");
  const dirty = git("status", "--porcelain") ? "+dirty" : "";
  const seconds = Number(git("log", "-1", "--format=%ct"));
  const values = {
    BUILD_VERSION: version,
    BUILD_COMMIT: commit ? commit + dirty : "unknown",
    BUILD_DATE: seconds > 0 ? new Date(seconds * 1000).toISOString() : "unknown",
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
  const hash = createHash("sha256").update(target ?? "");
  for (const file of [...files, "package.json", "bun.lock", ".ci/build.ts"])
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

function fail(message: string): never {
  console.error(`build: ${message}`);
  process.exit(1);
}

const inputs = hashOfInputs();
if (!(flags["if-stale"] && isFresh())) await build(target);
