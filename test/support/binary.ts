// The compiled executable as the tests run it: built when stale, started in a clean environment, ended with its children.
import { copyFileSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type Duration, seconds } from "../../src/lib/duration.ts";
import { distrustOf } from "../../src/platform/trust/root-trust.ts";
import { SOON } from "./until.ts";

const root = join(import.meta.dir, "../..");

const build = Bun.spawnSync([join(root, "node_modules/.bin/bun"), ".ci/build.ts", "--if-stale"], {
  cwd: root,
  stdio: ["ignore", 1, 2],
});
if (!build.success) throw new Error("dist/noderax-agent could not be built; see above");

export const binary = usable(join(root, "dist/noderax-agent"));

/** A root agent refuses to be executed from where another user could exchange it, as in that user's checkout. */
function usable(built: string): string {
  if (distrustOf(built) === undefined) return built;
  const directory = mkdtempSync(join(tmpdir(), "noderax-binary-"));
  process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
  copyFileSync(built, join(directory, "noderax-agent"));
  return join(directory, "noderax-agent");
}

export interface RunOptions {
  readonly cwd?: string;
  /** Added to a clean environment of PATH, HOME (the empty one of the test run) and LANG. */
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  /** After it the process and its children are killed. Default: SOON. */
  readonly timeout?: Duration;
  /** Another executable than the agent: a control of the test itself. */
  readonly file?: string;
}

export interface RunResult {
  /** The exit status; 128 + n after signal n, as a shell says it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs it to its end. Throws when it takes longer than the time-out. */
export async function runBinary(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const { timeout = SOON, stdin } = options;
  const child = Bun.spawn([options.file ?? binary, ...args], {
    ...placed(options),
    stdin: stdin === undefined ? "ignore" : new Blob([stdin]),
    stdout: "pipe",
    stderr: "pipe",
  });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    killAll([...familyOf(child.pid), identify(child.pid)]);
  }, timeout);
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  clearTimeout(timer);
  if (late) throw new Error(`${args.join(" ")} did not end within ${timeout} ms\n${stdout}${stderr}`);
  return { code: statusOf(child), stdout, stderr };
}

/** A running agent. `await using agent = startBinary([...])` ends it with the test. */
export interface RunningBinary extends AsyncDisposable {
  readonly pid: number;
  /** Resolves with the exit status. */
  readonly exited: Promise<number>;
  /** The lines of stdout, each once, as they come; ends with the stream. Shared with `line`. */
  readonly lines: AsyncIterableIterator<string>;
  /** Reads on until a line matches. Throws, with the output so far, at the end or after the time (default: SOON). */
  line(match: RegExp, within?: Duration): Promise<string>;
  /** The stderr so far. */
  stderr(): string;
  signal(name: NodeJS.Signals): void;
  /** SIGTERM, then after the grace (default 30 s) SIGKILL; what is left of its children is killed. Safe to repeat. */
  stop(grace?: Duration): Promise<number>;
}

export function startBinary(args: readonly string[], options: RunOptions = {}): RunningBinary {
  const { stdin } = options;
  const child = Bun.spawn([options.file ?? binary, ...args], {
    ...placed(options),
    stdin: stdin === undefined ? "ignore" : new Blob([stdin]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const lines = readLines(child.stdout);
  let errors = "";
  const complaints = (async () => {
    for await (const text of textOf(child.stderr)) errors += text;
  })();
  const exited = child.exited.then(() => statusOf(child));

  async function stop(grace: Duration = seconds(30)): Promise<number> {
    const family = familyOf(child.pid);
    child.kill("SIGTERM");
    const killer = setTimeout(() => child.kill("SIGKILL"), grace);
    const code = await exited;
    clearTimeout(killer);
    killAll(family);
    return code;
  }

  return {
    pid: child.pid,
    exited,
    lines: lines.rest(),
    async line(match, within = SOON) {
      const found = await lines.find(match, within);
      if (found !== undefined) return found;
      if (child.exitCode !== null) await complaints;
      throw new Error(
        `no line ${match} from ${args.join(" ")}; its output:\n${lines.all.join("\n")}\n${errors}`,
      );
    },
    stderr: () => errors,
    signal: (name) => child.kill(name),
    stop,
    async [Symbol.asyncDispose]() {
      await stop();
    },
  };
}

/** A directory of the test's own: `using home = temporaryDirectory()`, then `home.path`. */
export function temporaryDirectory(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "noderax-test-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

function placed({ cwd = tmpdir(), env }: RunOptions): { cwd: string; env: Record<string, string> } {
  const clean = {
    // As installed: the PATH finds the program, so hints have its bare name.
    PATH: `${dirname(binary)}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
    HOME: process.env["HOME"] ?? "/nonexistent",
    LANG: "C.UTF-8",
  };
  return { cwd, env: { ...clean, ...env } };
}

function statusOf({ exitCode, signalCode }: Pick<Bun.Subprocess, "exitCode" | "signalCode">): number {
  return (
    exitCode ?? 128 + (typeof signalCode === "string" ? constants.signals[signalCode] : (signalCode ?? 0))
  );
}

async function* textOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, void> {
  const decoder = new TextDecoder();
  for await (const bytes of stream) yield decoder.decode(bytes, { stream: true });
}

/** Pumps without pause, so that the child never blocks and no line is lost while nobody reads. */
function readLines(stream: ReadableStream<Uint8Array>) {
  const all: string[] = [];
  let cursor = 0;
  let ended = false;
  let news = Promise.withResolvers<void>();
  // In a turn of its own: a test that goes on inside a read and calls `expect(…).rejects`, which spins the event loop
  // (Bun 1.4.5), makes the other stream lose what comes meanwhile.
  const tell = () => {
    setImmediate(news.resolve);
    news = Promise.withResolvers();
  };
  void (async () => {
    let rest = "";
    for await (const text of textOf(stream)) {
      const parts = (rest + text).split("\n");
      rest = parts.pop() ?? "";
      all.push(...parts);
      tell();
    }
    if (rest !== "") all.push(rest);
    ended = true;
    tell();
  })();

  async function find(match: RegExp, within: Duration): Promise<string | undefined> {
    const deadline = performance.now() + within;
    for (;;) {
      while (cursor < all.length) {
        const line = all[cursor++] ?? "";
        if (match.test(line)) return line;
      }
      const left = deadline - performance.now();
      if (ended || left <= 0) return undefined;
      await Promise.race([news.promise, Bun.sleep(left)]);
    }
  }

  async function* rest(): AsyncGenerator<string, void> {
    for (;;) {
      const line = await find(/^/, Number.MAX_SAFE_INTEGER);
      if (line === undefined) return;
      yield line;
    }
  }

  return { all, find, rest };
}

/** A pid alone is no identity: it may be another process by the time we signal it. */
interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly started: string;
}

function identify(pid: number): Process | undefined {
  try {
    // Behind the name, which may hold anything: state, ppid, …, and as the 22nd field of the line the start time.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
    return { pid, parent: Number(fields[1]), started: fields[19] ?? "" };
  } catch {
    return undefined;
  }
}

/** All descendants of a process, as they are now. */
function familyOf(pid: number): (Process | undefined)[] {
  const everyone = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((name) => identify(Number(name)))
    .filter((found) => found !== undefined);
  const childrenOf = (parent: number): Process[] =>
    everyone.filter((one) => one.parent === parent).flatMap((one) => [one, ...childrenOf(one.pid)]);
  return childrenOf(pid);
}

function killAll(processes: (Process | undefined)[]): void {
  for (const one of processes) {
    if (one === undefined || identify(one.pid)?.started !== one.started) continue;
    try {
      process.kill(one.pid, "SIGKILL");
    } catch {
      // It ended between the look and the signal.
    }
  }
}
