// Writes the output of the process and ends it. No other file does either, so that printed text is written
// completely, or the exit code reports that it was not.
import { fstatSync, writeSync } from "node:fs";
import { constants } from "node:os";
import { isatty } from "node:tty";
import { MIB } from "../lib/size.ts";
import { within } from "../lib/until.ts";
import { AgentError, exit } from "../lib/agent-error.ts";
import { type Duration, milliseconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import { openLibc } from "./libc.ts";
import { type WriteReadiness, createOutputQueue } from "./output-queue.ts";

export const STDOUT = 1;
export const STDERR = 2;
type Descriptor = typeof STDOUT | typeof STDERR;

// Without native calls each write blocks until its reader has taken it, as in most programs.
const libc = await openLibc({ poll: { args: ["ptr", "u64", "i32"], returns: "i32" } });

const POLLOUT = 0x4;
const POLLERR_POLLHUP_POLLNVAL = 0x38;
/** struct pollfd: int fd, short events, short revents. */
const pollfd = new Int32Array(2);

function readiness(fd: number): WriteReadiness {
  if (libc === undefined) return "ready";
  pollfd[0] = fd;
  pollfd[1] = POLLOUT;
  libc.poll(pollfd, 1, 0);
  const events = (pollfd[1] ?? 0) >>> 16;
  if ((events & POLLERR_POLLHUP_POLLNVAL) !== 0) return "gone";
  return (events & POLLOUT) === 0 ? "full" : "ready";
}

export const isTerminal = (fd: Descriptor): boolean => isatty(fd);

/**
 * A pipe that is ready takes PIPE_BUF bytes without blocking, a terminal less; a file never blocks for long.
 */
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
    return false; // It is closed; the write fails with the reason.
  }
}

const queue = createOutputQueue({ readiness, write: (fd, bytes) => writeSync(fd, bytes), chunkOf, sleep });

const encoder = new TextEncoder();

/**
 * Writes now, or as soon as the reader takes it. Returns false when it was dropped. Throws `outputFailure()`
 * when stdout has failed, which ends the command.
 */
export function write(fd: Descriptor, chunk: string | Uint8Array): boolean {
  const kept = queue.write(fd, typeof chunk === "string" ? encoder.encode(chunk) : chunk);
  if (fd === STDOUT) throwIfFailed();
  return kept;
}

/**
 * Writes bulk output: resolves when the reader has taken it. Throws `outputFailure()` when stdout has failed.
 */
export async function writeOut(chunk: string | Uint8Array): Promise<void> {
  write(STDOUT, chunk);
  await queue.settled();
  throwIfFailed();
}

function throwIfFailed(): void {
  const failure = outputFailure();
  if (failure !== undefined) throw failure;
}

/**
 * Returns why stdout failed: "output.closed" (exit 141) without a reader, else "output.failed"; undefined if
 * it did not.
 */
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

/** How often a waiting command checks whether its output has a reader. */
const READER_CHECK: Duration = milliseconds(250);

/**
 * Returns a signal that aborts with "output.closed" when stdout has no reader any more. Disposing of it ends
 * the check.
 */
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

/** Bytes of log kept for a reader that hangs: about 5 000 lines. */
const LOG_WAITING_MAX = MIB;

/** Makes the process survive a closed output: the agent must not end when the journal restarts. */
export function outliveReaders(): void {
  queue.keepGoing(LOG_WAITING_MAX);
  mayLoseOutput = true;
}
let mayLoseOutput = false;

/**
 * Ends the process when all output is written. Changes exit code 0 if the output failed; prints no message
 * for a reader that closed it. SIGINT and SIGTERM end the process at once while a reader hangs.
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

/** How long a hanging reader may delay the end of the process. */
const LAST_OUTPUT_LIMIT: Duration = milliseconds(200);

/** Ends the process within 200 ms, whether or not the reader takes the output. */
export async function leaveNow(code: number): Promise<never> {
  await within(queue.settled(), LAST_OUTPUT_LIMIT);
  return process.exit(code);
}
