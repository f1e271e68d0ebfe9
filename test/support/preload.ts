// Runs before every test file. A bare `bun test` becomes `npm test` here: what that prepares, tests rely on.
import { afterEach, jest, setDefaultTimeout } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");

// .ci/test.mjs has prepared everything for its own children; a worker of `bun test --parallel` cannot be replaced.
const [, , ...args] = readFileSync("/proc/self/cmdline", "utf8").split("\0").slice(0, -1);
if (process.env["NODERAX_TESTS_PREPARED"] === undefined && !args.includes("--test-worker")) {
  const runner = Bun.which("node") ?? process.execPath;
  const setup = Bun.spawnSync([runner, join(root, ".ci/setup.mjs")], { stdio: ["ignore", 1, 2] });
  if (!setup.success) process.exit(1);
  process.execve(runner, [runner, join(root, ".ci/test.mjs"), ...args], process.env);
}

// 150 s, above what `until` waits: what takes 3 s on an idle machine has taken 60 s on one that is very busy.
setDefaultTimeout(150_000);

// A test that timed out while it had stopped the clock does not stop it for those behind it.
afterEach(() => void jest.useRealTimers());

declare global {
  namespace NodeJS {
    interface Process {
      /** Node's, which Bun has and its types lack: this process becomes that program. */
      execve(file: string, args: readonly string[], env: ProcessEnv): never;
    }
  }
}
