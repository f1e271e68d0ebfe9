// Runs the programs of a package manager: without a shell, without input, with an environment of our own.
import { accessSync, constants } from "node:fs";
import { AgentError } from "../lib/agent-error.ts";
import { type Duration, minutes, seconds } from "../lib/duration.ts";
import { errnoOf } from "../lib/errno.ts";
import { MIB } from "../lib/size.ts";
import { within } from "../lib/until.ts";
import { SYSTEM_PATH, currentAccount } from "../platform/account.ts";
import { attachingSystemd, pipedUnit } from "../platform/attached-unit.ts";
import { TASKS_SLICE } from "../platform/systemd.ts";
import { type PackageManager, type PackageQuery, flatText } from "./adapter.ts";

/** Longer than a query takes on a slow machine, with a repository that has to be asked. */
const QUERY_LIMIT: Duration = minutes(5);
/** 20,000 packages are 3 MB, a search for "a" 10 MB. */
const OUTPUT_MAX = 64 * MIB;
/** Wait for the rest of the output after the end of a program: what it started may keep the descriptor open for good. */
const DRAIN = seconds(2);
/** Characters of one line that are kept. */
const LINE_MAX = 4_096;
/** Lines of an error that are kept, the last ones. */
const ERRORS_MAX = 20;

const environmentOf = (manager: PackageManager): Record<string, string> => ({
  PATH: SYSTEM_PATH,
  HOME: currentAccount().home,
  // What we read is written in the language of the programs; C.UTF-8 keeps the names of people and places.
  LC_ALL: "C.UTF-8",
  LANGUAGE: "C",
  TERM: "dumb",
  PAGER: "cat",
  COLUMNS: "100000",
  ...manager.environment,
});

/**
 * Resolves with what a query answers. Throws "packages.failed" with the program's own words, or when it does not end in time;
 * "aborted" when `signal` does.
 */
export async function askManager<Answer>(
  manager: PackageManager,
  query: PackageQuery<Answer>,
  signal?: AbortSignal,
): Promise<Answer> {
  const [program = ""] = query.argv;
  signal?.throwIfAborted();
  const environment = environmentOf(manager);
  const systemd = isSandboxed() ? attachingSystemd() : undefined;
  const unit = { slice: TASKS_SLICE, environment, limit: QUERY_LIMIT };
  const child = spawn(systemd === undefined ? query.argv : pipedUnit(systemd, unit, query.argv), {
    env: environment,
    cwd: "/",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: QUERY_LIMIT,
    maxBuffer: OUTPUT_MAX,
    ...(signal === undefined ? {} : { signal }),
  });
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  const code = await child.exited;
  if (signal?.aborted === true) throw new AgentError("aborted", `${program} was ended`);
  if (code === 0 || query.alsoFine?.includes(code) === true) {
    const answer = query.parse(out);
    // dnf's "no" to its own question and its failure have the same status: only the failure says so.
    const errors = code === 0 ? [] : failuresIn(err.split("\n"));
    if (errors.length === 0) return answer;
  }
  throw new AgentError("packages.failed", `${program}: ${failureText(err.split("\n"), code)}`);
}

/** Whether our unit shows us the machine read-only: dnf and zypper do not even answer then, since they lock and log. */
const isSandboxed = (): boolean => ["/run", "/var/log"].some(isReadOnly);

function isReadOnly(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK);
    return false;
  } catch (error) {
    return errnoOf(error) === "EROFS";
  }
}

function spawn<const In extends "ignore", const Out extends "pipe", const Err extends "pipe">(
  argv: readonly string[],
  options: Bun.Spawn.SpawnOptions<In, Out, Err>,
): Bun.Subprocess<In, Out, Err> {
  try {
    return Bun.spawn([...argv], options);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new AgentError("packages.failed", `${argv[0] ?? ""} cannot be run: ${why}`);
  }
}

export interface ProgramOutput {
  /** A line of standard output. */
  readonly out: (line: string) => void;
  /** A line of standard error. */
  readonly err: (line: string) => void;
  /** A line of descriptor 3. */
  readonly status: (line: string) => void;
}

export interface ProgramEnd {
  readonly code: number;
  /** Why it failed, in its own words. */
  readonly error: string;
}

/** Runs a program to its end and hands over its lines. Ends it with SIGTERM when `signal` aborts. Throws "packages.failed". */
export async function runManager(
  manager: PackageManager,
  argv: readonly string[],
  output: ProgramOutput,
  signal?: AbortSignal,
): Promise<ProgramEnd> {
  const child = spawn(argv, {
    env: environmentOf(manager),
    cwd: "/",
    stdio: ["ignore", "pipe", "pipe", "pipe"],
    ...(signal === undefined ? {} : { signal, killSignal: "SIGTERM" }),
  });
  const errors: string[] = [];
  const status = child.stdio[3];
  const ended = new AbortController();
  const streams = Promise.all([
    lines(child.stdout, output.out, ended.signal),
    lines(
      child.stderr,
      (line) => {
        errors.push(line);
        if (errors.length > ERRORS_MAX) errors.shift();
        output.err(line);
      },
      ended.signal,
    ),
    typeof status === "number" ? lines(Bun.file(status).stream(), output.status, ended.signal) : undefined,
  ]);
  const code = await child.exited;
  await within(streams, DRAIN);
  ended.abort();
  return { code, error: failureText(errors, code) };
}

/** Calls `take` with each line, without its end; a line that is longer than LINE_MAX comes in parts. */
async function lines(
  stream: ReadableStream<Uint8Array>,
  take: (line: string) => void,
  ended: AbortSignal,
): Promise<void> {
  const decoder = new TextDecoder();
  const reader = stream.getReader();
  ended.addEventListener("abort", () => void reader.cancel().catch(() => undefined), { once: true });
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
    // A progress bar goes back to the start of its line.
    const parts = rest.split(/\r?\n|\r/);
    rest = parts.pop() ?? "";
    for (const part of parts) take(part);
    for (; rest.length > LINE_MAX; rest = rest.slice(LINE_MAX)) take(rest.slice(0, LINE_MAX));
    if (!done) continue;
    if (rest !== "") take(rest);
    return;
  }
}

/** The lines in which a manager says that it failed: "E: …", "Error: …", "error: …", "ERROR: …". */
const failuresIn = (lines: readonly string[]): string[] =>
  lines.flatMap((line) => {
    const text = /^\s*(?:E|Error|error|ERROR): ?(\S.*)/.exec(line)?.[1];
    return text === undefined ? [] : [flatText(text)];
  });

function failureText(lines: readonly string[], code: number): string {
  const said = failuresIn(lines);
  if (said.length > 0) return [...new Set(said)].slice(0, 5).join(" ").slice(0, 2_000);
  const last = lines.map(flatText).findLast((line) => line !== "");
  return `${last === undefined ? "" : `${last.slice(0, 500)} `}(exit code ${code})`;
}
