// Queues the output that the control plane has not acknowledged: bytes in, frames out. Bounded, without effects.
import { humanSize } from "../lib/size.ts";
import { completeLength } from "../lib/utf8.ts";
import { OUTPUT_FRAME_MAX } from "../protocol/noderax/terminal.ts";

/** Bytes above which the pty is paused: the next frame and one behind it, more a slow reader cannot use. */
const HIGH_WATER = 2 * OUTPUT_FRAME_MAX;
const LOW_WATER = OUTPUT_FRAME_MAX;

/** Whether the pty should be paused, by whether it is now. */
export const shouldPause = (paused: boolean, size: number): boolean =>
  paused ? size > LOW_WATER : size >= HIGH_WATER;

/** Bytes searched behind a cut for the end of the line. */
const LINE_SEARCH = 4_096;
const PIECE = 65_536;
const PIECE_MIN = 2_048;

export interface TerminalOutputQueue {
  /** Bytes in the queue. */
  size(): number;
  /** Copies the bytes. Above the limit the oldest half is dropped, up to the end of a line; the next frame says so. */
  push(bytes: Uint8Array): void;
  /**
   * The next frame: at most `OUTPUT_FRAME_MAX` bytes, ending where a character ends, since the transcript decodes each
   * frame by itself. Undefined when there is none. A character that has only begun waits, unless `flush`.
   */
  take(flush: boolean): Uint8Array | undefined;
}

interface Piece {
  readonly bytes: Uint8Array;
  start: number;
  end: number;
}

/** Creates the queue of output that waits to be sent. `limit` returns its bound in bytes. */
export function createTerminalOutputQueue(limit: () => number): TerminalOutputQueue {
  /** Pieces, since a single buffer would be copied whenever a burst outgrows it. */
  const pieces: Piece[] = [];
  let spare: Uint8Array | undefined;
  let size = 0;
  let skipped = 0;

  /** Returns a piece with free space; a small one for a terminal with little output. */
  function lastPiece(coming: number): Piece {
    const last = pieces.at(-1);
    if (last !== undefined && last.end < last.bytes.length) return last;
    const bytes = spare ?? new Uint8Array(pieces.length === 0 && coming <= PIECE_MIN ? PIECE_MIN : PIECE);
    spare = undefined;
    const piece = { bytes, start: 0, end: 0 };
    pieces.push(piece);
    return piece;
  }

  function append(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const piece = lastPiece(bytes.length - at);
      const part = bytes.subarray(at, at + piece.bytes.length - piece.end);
      piece.bytes.set(part, piece.end);
      piece.end += part.length;
      at += part.length;
    }
    size += bytes.length;
  }

  /** A copy of the first `count` bytes, or of all there are. */
  function head(count: number): Uint8Array {
    const copy = new Uint8Array(Math.min(count, size));
    let at = 0;
    for (const { bytes, start, end } of pieces) {
      if (at === copy.length) break;
      const part = bytes.subarray(start, Math.min(end, start + copy.length - at));
      copy.set(part, at);
      at += part.length;
    }
    return copy;
  }

  function consume(count: number): void {
    size -= count;
    for (let left = count; left > 0;) {
      const [first] = pieces;
      if (first === undefined) return;
      const part = Math.min(left, first.end - first.start);
      first.start += part;
      left -= part;
      if (first.start < first.end) continue;
      pieces.shift();
      if (size > 0 || first.bytes.length === PIECE_MIN) spare = first.bytes;
    }
    // Most terminals are idle most of the time: release the large piece.
    if (size === 0 && spare?.length !== PIECE_MIN) spare = undefined;
  }

  /** Drops at least `count` bytes; the rest begins with a line, or at least with a character. */
  function drop(count: number): void {
    const before = size;
    consume(Math.min(count, size));
    const next = head(LINE_SEARCH);
    let cut = next.indexOf(0x0a) + 1;
    while (cut < next.length && ((next[cut] ?? 0) & 0xc0) === 0x80) cut++;
    consume(cut);
    skipped += before - size;
  }

  return {
    size: () => size,
    push(bytes) {
      append(bytes);
      if (size > limit()) drop(size - Math.floor(limit() / 2));
    },
    take(flush) {
      const notice = skipped > 0 ? Buffer.from(skipNotice(skipped)) : undefined;
      const next = head(OUTPUT_FRAME_MAX - (notice?.length ?? 0));
      const length = flush && next.length === size ? next.length : completeLength(next);
      if (length === 0 && notice === undefined) return undefined;
      skipped = 0;
      consume(length);
      const frame = next.subarray(0, length);
      return notice === undefined ? frame : Buffer.concat([notice, frame]);
    },
  };
}

/** CAN ends an escape sequence that was cut in two, `ESC [ 0 m` a colour whose end was skipped. */
const skipNotice = (bytes: number): string =>
  `\u0018\u001B[0m\r\n[… ${humanSize(bytes)} of output skipped …]\r\n`;
