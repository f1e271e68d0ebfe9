// Runs before every test process: dependencies, the pinned Bun, and a time-out that a busy machine can keep.
import { setDefaultTimeout } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");
const pinned = join(root, "node_modules/.bin/bun");

const before = installed();
// `npm test` has done it, and runs this file before each of hundreds of test files.
if (process.env["NODERAX_TESTS_PREPARED"] === undefined) {
  const setup = Bun.spawnSync([process.execPath, join(root, ".ci/setup.mjs")], { stdio: ["ignore", 1, 2] });
  if (!setup.success) process.exit(1);
}

// A fresh clone, or a Bun from elsewhere: this process has already looked for packages in vain, or is of another
// version. It becomes, in place, the one that was just installed.
const marker = "NODERAX_TESTS_RESTARTED";
if ((installed() !== before || Bun.version !== pinnedVersion()) && process.env[marker] === undefined)
  restart();

// 60 s: starting the executable a few times takes 1 s on an idle machine and 30 s on one that is very busy.
setDefaultTimeout(60_000);

function installed(): number | undefined {
  return statSync(join(root, "node_modules/.setup-stamp"), { throwIfNoEntry: false })?.mtimeMs;
}

function pinnedVersion(): string {
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    devDependencies: { bun: string };
  };
  return manifest.devDependencies.bun;
}

function restart(): never {
  const [, ...args] = readFileSync("/proc/self/cmdline", "utf8").split("\0").slice(0, -1);
  return process.execve(pinned, [pinned, ...args], { ...process.env, [marker]: "1" });
}

declare global {
  namespace NodeJS {
    interface Process {
      /** Node's, which Bun has and its types lack: this process becomes that program. */
      execve(file: string, args: readonly string[], env: ProcessEnv): never;
    }
  }
}
