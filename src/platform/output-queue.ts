// Writes bytes to file descriptors in order without blocking the process; keeps what a slow reader does not
// take.
import { errnoOf } from "../lib/errno.ts";
import { doubled } from "../lib/backoff.ts";
import { type Duration, milliseconds } from "../lib/duration.ts";

/** "gone": there is no reader any more; the next write fails with the reason. */
export type WriteReadiness = "ready" | "full" | "gone";

export interface OutputPorts {
  readonly readiness: (fd: number) => WriteReadiness;
  /** Returns how many bytes were written. Throws errors with an errno `code`. */
  readonly write: (fd: number, bytes: Uint8Array) => number;
  /** Most bytes a ready descriptor takes in one write without blocking. */
  readonly chunkOf: (fd: number) => number;
  readonly sleep: (pause: Duration) => Promise<void>;
}

export interface OutputQueue {
  /** Writes what the reader takes now and keeps the rest. Returns false when the chunk was dropped. */
  write(fd: number, bytes: Uint8Array): boolean;
  /** Resolves when everything was written or has failed. */
  settled(): Promise<void>;
  /** The errno of the first failed write to this descriptor: "EPIPE". Nothing is written to it afterwards. */
  failure(fd: number): string | undefined;
  /** From now on a failed write drops only its chunk, and at most `limit` bytes are kept. */
  keepGoing(limit: number): void;
}

/**
 * Pauses while the reader is slow: 2 ms doubling to 50 ms, so that a pipe of 64 KiB moves at least 1 MB/s.
 */
const POLL = { base: milliseconds(2), cap: milliseconds(50) };

export function createOutputQueue({ readiness, write, chunkOf, sleep }: OutputPorts): OutputQueue {
  const waiting: { readonly fd: number; readonly bytes: Uint8Array }[] = [];
  const failures = new Map<number, string>();
  let waitingBytes = 0;
  let limit: number | undefined;
  let draining: Promise<void> | undefined;

  /** Writes as much as the descriptor takes. Returns the rest, which is empty when the write failed. */
  function push(fd: number, bytes: Uint8Array): Uint8Array {
    let rest = bytes;
    try {
      while (rest.length > 0 && readiness(fd) !== "full")
        rest = rest.subarray(write(fd, rest.subarray(0, chunkOf(fd))));
      return rest;
    } catch (error) {
      const code = errnoOf(error) || String(error);
      if (code === "EAGAIN") return rest;
      if (code === "EINTR") return push(fd, rest);
      if (limit === undefined) failures.set(fd, code);
      return rest.subarray(rest.length);
    }
  }

  async function drain(): Promise<void> {
    let idle = 0;
    for (let head = waiting[0]; head !== undefined; head = waiting[0]) {
      await sleep(doubled(POLL, ++idle));
      const before = waitingBytes;
      while (head !== undefined && pushHead(head)) head = waiting[0];
      if (waitingBytes < before) idle = 0;
    }
    draining = undefined;
  }

  /** Returns true when the first chunk is finished: written, or failed. */
  function pushHead({ fd, bytes }: { readonly fd: number; readonly bytes: Uint8Array }): boolean {
    const rest = failures.has(fd) ? bytes.subarray(bytes.length) : push(fd, bytes);
    waitingBytes -= bytes.length - rest.length;
    if (rest.length === 0) waiting.shift();
    else waiting[0] = { fd, bytes: rest };
    return rest.length === 0;
  }

  return {
    write(fd, bytes) {
      if (failures.has(fd)) return false;
      if (limit !== undefined && waitingBytes + bytes.length > limit) return false;
      const rest = waiting.length === 0 ? push(fd, bytes) : bytes;
      if (rest.length > 0) {
        // A copy: the caller may use its buffer again.
        waiting.push({ fd, bytes: rest.slice() });
        waitingBytes += rest.length;
        draining ??= drain();
      }
      return !failures.has(fd);
    },
    settled: () => draining ?? Promise.resolve(),
    failure: (fd) => failures.get(fd),
    keepGoing(most) {
      limit = most;
      failures.clear();
    },
  };
}
