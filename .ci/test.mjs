// `npm test [-- FILTER... | BUN-TEST-FLAG...] [--junit DIR]`: runs the tests in lanes, in a home and a temporary directory
// of their own, and fails when one of them leaves a process or a file behind.
import { spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmSync,
} from "node:fs";
import { availableParallelism, homedir, tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";

const root = join(import.meta.dirname, "..");
const bun = join(root, "node_modules/.bin/bun");
const args = process.argv.slice(2);
const junit = takeValue("--junit");

// Short names: sockets below it must fit into 108 bytes.
const place = mkdtempSync(join(tmpdir(), "nx-"));
const home = join(place, "home");
const temporary = join(place, "tmp");
mkdirSync(home, { mode: 0o700 });
mkdirSync(temporary);
// Tasks of another user reach the files that tests made for them.
spawnSync("chmod", ["0711", place]);
spawnSync("chmod", ["1777", temporary]);

const environment = {
  ...process.env,
  HOME: home,
  TMPDIR: temporary,
  NODERAX_TESTS_PREPARED: "1",
};

/** Root's home stands in /etc/passwd, whatever HOME says: a mount namespace of the tests' own puts another in its place. */
const ownRoot =
  process.getuid?.() === 0 && mountsWork() ? ["unshare", "--mount", "sh", "-c", mounts(), "sh"] : [];
if (process.getuid?.() === 0 && ownRoot.length === 0)
  console.warn(`test: no mount namespace here: shells of tests see ${homedir()} as their home`);

const running = new Set();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => {
    for (const child of running) child.kill(signal);
  });
}

process.exitCode = await main();

async function main() {
  let failed = false;
  try {
    const ends = await Promise.all(lanes().map(run));
    failed = ends.includes(false);
  } finally {
    const leftBehind = [...(await processesLeft()), ...filesLeft()];
    for (const one of leftBehind) console.error(`test: left behind: ${one}`);
    failed ||= leftBehind.length > 0;
    rmSync(place, { recursive: true, force: true });
  }
  return failed ? 1 : 0;
}

/**
 * Files named on the command line run as `bun test` would run them. All of them run in lanes side by side: what needs the
 * Docker Engine and what boots systemd two files at a time each, since they mostly wait for the engine and for systemd; and
 * everything else in parallel, the longest first, with more files than
 * cores because tests mostly wait. `--update-timings` writes down how long its files take.
 */
function lanes() {
  if (args.some((arg) => !arg.startsWith("-"))) return [{ name: "named", flags: args, files: [] }];
  const files = testFiles();
  const laneOf = (file) =>
    file.startsWith("test/docker/")
      ? "engine"
      : /support\/systemd\.ts/.test(readFileSync(join(root, file), "utf8"))
        ? "systemd"
        : "parallel";
  const own = args.filter((arg) => arg !== "--update-timings");
  const workers = [`--parallel=${2 * availableParallelism()}`, "--timings=.ci/test-times.json"];
  return [
    { name: "parallel", flags: [...workers, ...args] },
    { name: "engine", flags: ["--parallel=2", ...own] },
    { name: "systemd", flags: ["--parallel=2", ...own] },
  ]
    .map((lane) => ({ ...lane, files: files.filter((file) => laneOf(file) === lane.name) }))
    .filter((lane) => lane.files.length > 0);
}

/** Resolves with whether all its tests passed. The output of all lanes but the first is shown at their end, in one piece. */
function run({ name, flags, files }, index) {
  const report =
    junit === undefined ? [] : ["--reporter=junit", `--reporter-outfile=${join(junit, `junit-${name}.xml`)}`];
  const command = [
    ...ownRoot,
    bun,
    "test",
    "--timeout",
    "150000",
    ...flags,
    ...report,
    ...files.map((file) => `./${file}`),
  ];
  const child = spawn(command[0], command.slice(1), {
    cwd: root,
    env: environment,
    stdio: ["ignore", index === 0 ? "inherit" : "pipe", index === 0 ? "inherit" : "pipe"],
  });
  running.add(child);
  const output = [];
  child.stdout?.on("data", (chunk) => output.push(chunk));
  child.stderr?.on("data", (chunk) => output.push(chunk));
  return new Promise((resolve) => {
    child.on("close", (code) => {
      running.delete(child);
      process.stderr.write(Buffer.concat(output));
      resolve(code === 0);
    });
  });
}

function mountsWork() {
  return (
    spawnSync("unshare", ["--mount", "sh", "-c", mounts(), "sh", "true"], { stdio: "ignore" }).status === 0
  );
}

/** A script that puts the new home over the caller's. The checkout and Node stay where they are, also below a home. */
function mounts() {
  const own = realpathSync(homedir());
  const kept = [realpathSync(root), dirname(dirname(realpathSync(process.execPath)))].filter((path) =>
    path.startsWith(`${own}/`),
  );
  const lines = kept.flatMap((path) => {
    const inside = quote(join(home, relative(own, path)));
    return [`mkdir -p ${inside}`, `mount --rbind ${quote(path)} ${inside}`];
  });
  return ["set -e", ...lines, `mount --rbind ${quote(home)} ${quote(own)}`, 'exec "$@"'].join("\n");
}

function quote(word) {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** What still runs in the tests' directories, or was started with them in its environment. What is ending gets 5 s. */
async function processesLeft() {
  for (const end = performance.now() + 5_000; ; await new Promise((resolve) => setTimeout(resolve, 100))) {
    const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
    const left = pids.filter((pid) => traces(pid).some((text) => text.includes(`${place}/`)));
    if (left.length === 0 || performance.now() > end)
      return left.map(
        (pid) => `process ${pid}: ${read(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim()}`,
      );
  }
}

function traces(pid) {
  let cwd = "";
  try {
    cwd = `${readlinkSync(`/proc/${pid}/cwd`)}/`;
  } catch {
    // It ended, or is not ours.
  }
  return [cwd, read(`/proc/${pid}/environ`), read(`/proc/${pid}/cmdline`)];
}

function filesLeft() {
  return readdirSync(temporary).map((name) => `file ${name} in the temporary directory`);
}

function read(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** The files bun takes for tests. */
function testFiles() {
  return readdirSync(join(root, "test"), { recursive: true, encoding: "utf8" })
    .map((name) => `test/${name}`)
    .filter((name) => /[._](test|spec)\.[cm]?[jt]sx?$/.test(name))
    .toSorted();
}

/** The value of a flag of ours, which bun does not get. */
function takeValue(flag) {
  const at = args.indexOf(flag);
  if (at < 0) return undefined;
  const [, value] = args.splice(at, 2);
  if (value !== undefined && !existsSync(value)) mkdirSync(value, { recursive: true });
  return value;
}
