// The output of a task: two files that its output copiers append to, and the order in which they were seen to grow.
//
// Pieces end with a line where possible, else with a whole character, so that rows and summaries do as well. The file
// `order` keeps the order for the next process.
import { appendFileSync, closeSync, existsSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import type { SteadyTime } from "../../lib/clock.ts";
import { textIn } from "../../platform/lenient-reads.ts";
import { seconds } from "../../lib/duration.ts";
import { completeLength } from "../../lib/utf8.ts";
import { LOG_ROWS_VISIBLE } from "../../protocol/noderax/limits.ts";
import { setAside } from "../../platform/set-aside.ts";
import { type Pending, STREAMS, type Stream } from "../output/rows.ts";
import type { OutputReader } from "../output/summary.ts";

interface Piece {
  readonly stream: Stream;
  readonly from: number;
  to: number;
}

/** Bytes searched backwards for the end of a line. */
const SEARCH_BACK = 4_096;
/** A line without an end is taken when it has not grown for this long: a prompt, a progress bar. */
const PARTIAL_AFTER = seconds(1);

export interface Spool {
  /** Reads what was written since; true when there was something. With `final`, incomplete lines as well. */
  observe(final: boolean, now: SteadyTime): boolean;
  /** The output after `shipped`. */
  pending(shipped: Readonly<Record<Stream, number>>): Omit<Pending, "lines">;
  /** Observed bytes of a stream. */
  read(stream: Stream, from: number, max: number): Uint8Array;
  /** Counts line feeds between two offsets. */
  countLines(stream: Stream, from: number, to: number): number;
  /** Reads both streams, in the order they were observed. */
  reader(): OutputReader;
  /** Reads one stream. */
  readerOf(stream: Stream): OutputReader;
  /**
   * Bytes that the output copiers discarded, once they have ended; slightly too many for one that hit its limit. Undefined
   * when a copier could not store the number: the disk is full, and the amount is unknown.
   */
  discarded(): Record<Stream, number | undefined>;
  close(): void;
}

/** Opens the output in a run directory. "read-only" does not write the order, which the following agent does. */
export function openSpool(directory: string, mode: "follow" | "read-only" = "follow"): Spool {
  const order = join(directory, "order");
  // Anything but a file cannot be appended to: without it, the order is known from now on only.
  if (mode === "follow" && statSync(order, { throwIfNoEntry: false })?.isFile() === false)
    setAside(order, "damaged");
  const files = new Map<Stream, number>();
  const seen: Record<Stream, number> = { stdout: 0, stderr: 0 };
  const partialSince: Record<Stream, { size: number; at: SteadyTime }> = {
    stdout: { size: -1, at: 0 },
    stderr: { size: -1, at: 0 },
  };
  const pieces = readOrder(order, { stdout: sizeOf("stdout"), stderr: sizeOf("stderr") });
  for (const { stream, to } of pieces) seen[stream] = to;
  // By stream, the first piece that may hold unshipped bytes: earlier pieces are not read again.
  const first: Record<Stream, number> = { stdout: 0, stderr: 0 };

  function file(stream: Stream): number | undefined {
    const handle = files.get(stream) ?? openIfThere(join(directory, `${stream}.log`));
    if (handle !== undefined) files.set(stream, handle);
    return handle;
  }

  function sizeOf(stream: Stream): number {
    const handle = file(stream);
    return handle === undefined ? 0 : fstatSync(handle).size;
  }

  function bytesOf(stream: Stream, from: number, to: number): Uint8Array {
    const handle = file(stream);
    const bytes = new Uint8Array(Math.max(0, to - from));
    if (handle === undefined) return bytes.subarray(0, 0);
    let got = 0;
    while (got < bytes.length) {
      const n = readSync(handle, bytes, got, bytes.length - got, from + got);
      if (n === 0) break;
      got += n;
    }
    return bytes.subarray(0, got);
  }

  /** Returns the offset up to which output may be read now. */
  function boundary(stream: Stream, size: number, final: boolean, now: SteadyTime): number {
    if (final) return size;
    const from = Math.max(seen[stream], size - SEARCH_BACK);
    const tail = bytesOf(stream, from, size);
    const line = tail.lastIndexOf(0x0a);
    if (line >= 0) return from + line + 1;
    if (partialSince[stream].size !== size) partialSince[stream] = { size, at: now };
    const old = now - partialSince[stream].at >= PARTIAL_AFTER;
    return size - seen[stream] > SEARCH_BACK || old ? from + completeLength(tail) : seen[stream];
  }

  return {
    observe(final, now) {
      let grew = false;
      for (const stream of STREAMS) {
        const size = sizeOf(stream);
        if (size <= seen[stream]) continue;
        const to = boundary(stream, size, final, now);
        if (to <= seen[stream]) continue;
        const last = pieces.at(-1);
        if (mode === "follow") appendFileSync(order, `${stream} ${to}\n`, { mode: 0o600 });
        if (last?.stream === stream) last.to = to;
        else pieces.push({ stream, from: seen[stream], to });
        seen[stream] = to;
        grew = true;
      }
      return grew;
    },
    pending(shipped) {
      // After a crash that lost the end of `order`, more may be shipped than observed.
      const behind = (stream: Stream): number => Math.max(0, seen[stream] - shipped[stream]);
      const bytes = { stdout: behind("stdout"), stderr: behind("stderr") };
      for (const stream of STREAMS) {
        // Stop at the last piece: it may grow.
        while (first[stream] < pieces.length - 1 && !isBehind(pieces[first[stream]], stream, shipped[stream]))
          first[stream]++;
      }
      const waiting = STREAMS.filter((stream) => bytes[stream] > 0);
      const oldest = waiting.sort((a, b) => first[a] - first[b])[0];
      return { bytes, oldest, ...runsOf(pieces, Math.min(first.stdout, first.stderr), shipped) };
    },
    read: (stream, from, max) => bytesOf(stream, from, Math.min(seen[stream], from + max)),
    countLines(stream, from, to) {
      let lines = 0;
      for (let at = from; at < to; at += 65_536) {
        const bytes = bytesOf(stream, at, Math.min(to, at + 65_536));
        // By index: an iterator takes twenty times as long, 17 s for a gap of 1 GB in which nothing else runs.
        for (let i = 0; i < bytes.length; i++) if (bytes[i] === 0x0a) lines++;
      }
      return lines;
    },
    reader: () => ({
      length: seen.stdout + seen.stderr,
      read: (from, to) => readPieces(pieces, from, to, bytesOf),
    }),
    readerOf: (stream) => ({ length: seen[stream], read: (from, to) => bytesOf(stream, from, to) }),
    discarded: () => ({
      stdout: readCount(join(directory, "stdout.discarded")),
      stderr: readCount(join(directory, "stderr.discarded")),
    }),
    close() {
      for (const handle of files.values()) closeSync(handle);
    },
  };
}

const isBehind = (piece: Piece | undefined, stream: Stream, offset: number): boolean =>
  piece !== undefined && piece.stream === stream && piece.to > offset;

/** The length of the first run of one stream that is pending from this piece on, and how many there are, up to a limit. */
function runsOf(
  pieces: readonly Piece[],
  from: number,
  shipped: Readonly<Record<Stream, number>>,
): { run: number; runs: number } {
  let [run, runs] = [0, 0];
  let last: Stream | undefined;
  for (let at = from; at < pieces.length && runs < LOG_ROWS_VISIBLE; at++) {
    const piece = pieces[at];
    if (piece === undefined || piece.to <= shipped[piece.stream]) continue;
    if (piece.stream !== last) runs++;
    if (runs === 1) run = piece.to - shipped[piece.stream];
    last = piece.stream;
  }
  return { run, runs };
}

function readPieces(
  pieces: readonly Piece[],
  from: number,
  to: number,
  bytesOf: (stream: Stream, from: number, to: number) => Uint8Array,
): Uint8Array {
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const piece of pieces) {
    const length = piece.to - piece.from;
    const [low, high] = [Math.max(from, at), Math.min(to, at + length)];
    if (low < high) parts.push(bytesOf(piece.stream, piece.from + low - at, piece.from + high - at));
    at += length;
    if (at >= to) break;
  }
  return Buffer.concat(parts);
}

/**
 * Lines "stdout 1234": the stream, and how far it had grown. A line that a crash cut short is left out, and what a loss
 * of power took from the end of a stream is not there to be read.
 */
function readOrder(path: string, size: Readonly<Record<Stream, number>>): Piece[] {
  const pieces: Piece[] = [];
  const seen: Record<Stream, number> = { stdout: 0, stderr: 0 };
  for (const [, name, end] of textIn(path).matchAll(/^(stdout|stderr) (\d+)\n/gm)) {
    const stream: Stream = name === "stderr" ? "stderr" : "stdout";
    const to = Math.min(Number(end), size[stream]);
    if (to <= seen[stream]) continue;
    const last = pieces.at(-1);
    if (last?.stream === stream) last.to = to;
    else pieces.push({ stream, from: seen[stream], to });
    seen[stream] = to;
  }
  return pieces;
}

/** An empty file: the copier could not write the number. No file: the copier has not ended. */
function readCount(path: string): number | undefined {
  if (!existsSync(path)) return 0;
  const text = textIn(path).trim();
  return text === "" ? undefined : Number(text);
}

/** Undefined when it does not exist or is not a regular file. */
function openIfThere(path: string): number | undefined {
  try {
    return statSync(path).isFile() ? openSync(path, "r") : undefined;
  } catch {
    return undefined;
  }
}
