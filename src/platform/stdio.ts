// Writes the process's output and ends the process. No other file does either: what was printed is written completely,
// or the exit code tells that it was not.
import { fstatSync, writeSync } from "node:fs";
import { constants } from "node:os";
import { isatty } from "node:tty";
import { MIB } from "../lib/size.ts";
import { within } from "../lib/until.ts";
import { AgentError, exit } from "../lib/agent-error.ts";
import { type Duration, milliseconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import { openLibc } from "./libc.ts";
import { type Readiness, createOutputQueue } from "./output-queue.ts";

export const STDOUT = 1;
export const STDERR = 2;
type Descriptor = typeof STDOUT | typeof STDERR;

// Without native calls every write blocks until its reader takes it, as in most programs.
const libc = await openLibc({ poll: { args: ["ptr", "u64", "i32"], returns: "i32" } });

const POLLOUT = 0x4;
const POLLERR_POLLHUP_POLLNVAL = 0x38;
/** struct pollfd: int fd, short events, short revents. */
const pollfd = new Int32Array(2);

function readiness(fd: number): Readiness {
  if (libc === undefined) return "ready";
  pollfd[0] = fd;
  pollfd[1] = POLLOUT;
  libc.poll(pollfd, 1, 0);
  const told = (pollfd[1] ?? 0) >>> 16;
  if ((told & POLLERR_POLLHUP_POLLNVAL) !== 0) return "gone";
  return (told & POLLOUT) === 0 ? "full" : "ready";
}

export const isTerminal = (fd: Descriptor): boolean => isatty(fd);

/** A pipe that is ready takes PIPE_BUF bytes without blocking, a terminal less; a file never blocks for long. */
const chunkSizes = new Map<number, number>();

function chunkOf(fd: number): number {
  const known = chunkSizes.get(fd);
  if (known !== undefined) return known;
  const size = isFile(fd) ? MIB : isatty(fd) ? 512 : 4_096;
  chunkSizes.set(fd, size);
  return size;
}

function isFile(fd: number): boolean {
  try {
    return fstatSync(fd).isFile();
  } catch {
    return false; // It is closed; the write tells.
  }
}

const queue = createOutputQueue({ readiness, write: (fd, bytes) => writeSync(fd, bytes), chunkOf, sleep });

const encoder = new TextEncoder();

/**
 * Writes now, or as soon as the reader takes it. Returns false when it was dropped. Throws an AgentError when stdout has
 * failed: a command whose result nobody gets ends.
 */
export function write(fd: Descriptor, chunk: string | Uint8Array): boolean {
  const kept = queue.write(fd, typeof chunk === "string" ? encoder.encode(chunk) : chunk);
  if (fd === STDOUT) throwIfFailed();
  return kept;
}

/** For bulk: resolves when the reader has taken it. Throws an AgentError when stdout has failed. */
export async function writeOut(chunk: string | Uint8Array): Promise<void> {
  write(STDOUT, chunk);
  await queue.settled();
  throwIfFailed();
}

function throwIfFailed(): void {
  const failure = outputFailure();
  if (failure !== undefined) throw failure;
}

/** Why stdout cannot be written: "output.closed" (exit 141) when its reader is gone, else "output.failed". */
export function outputFailure(): AgentError | undefined {
  const code = queue.failure(STDOUT);
  if (code === undefined) return undefined;
  if (code === "EPIPE") return closed();
  return new AgentError("output.failed", `the output cannot be written: ${REASONS[code] ?? code}`);
}

const closed = (): AgentError =>
  new AgentError("output.closed", "nobody reads the output any more", { exit: exit.closedPipe });

const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: "no space left on device",
  EDQUOT: "the disk quota is used up",
  EFBIG: "the file would be too large",
  EIO: "input/output error",
  EBADF: "standard output is closed",
};

/** How often a command that waits looks whether its output still has a reader. */
const READER_CHECK: Duration = milliseconds(250);

/** Aborts when nobody can read stdout any more, with an "output.closed" error as the reason. Disposing of it ends the check. */
export function watchReader(): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const timer = setInterval(() => {
    if (queue.failure(STDOUT) === undefined && readiness(STDOUT) !== "gone") return;
    clearInterval(timer);
    controller.abort(outputFailure() ?? closed());
  }, READER_CHECK);
  timer.unref();
  return { signal: controller.signal, [Symbol.dispose]: () => clearInterval(timer) };
}

/** Most log bytes that wait for a reader that hangs; about 5 000 lines. */
const LOG_WAITING_MAX = MIB;

/** For the agent: a journal that restarts closes our output, and the agent goes on without it. */
export function outliveReaders(): void {
  queue.keepGoing(LOG_WAITING_MAX);
  mayLoseOutput = true;
}
let mayLoseOutput = false;

/**
 * Ends the process when all output is written. An output that failed changes exit code 0; a reader that left needs no
 * message. While a reader hangs, any signal ends the process at once.
 */
export async function leave(code: number): Promise<never> {
  if (mayLoseOutput) return leaveNow(code);
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.on(signal, () => process.exit(128 + constants.signals[signal]));
  await queue.settled();
  const failure = outputFailure();
  if (failure?.code === "output.failed") {
    write(STDERR, `error: ${failure.message}\n`);
    await queue.settled();
  }
  const own = failure?.exit ?? (queue.failure(STDERR) === undefined ? exit.done : exit.failed);
  return process.exit(code === 0 ? own : code);
}

/** How long a reader that hangs may hold up an agent that stops, or a person who is impatient. */
const LAST_WORDS: Duration = milliseconds(200);

/** The same, but soon, whatever the reader does. */
export async function leaveNow(code: number): Promise<never> {
  await within(queue.settled(), LAST_WORDS);
  return process.exit(code);
}
