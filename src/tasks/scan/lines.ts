// Cuts lines out of a log file, from its end or on from an offset, within limits of lines and bytes. Pure.
import { KIB, MIB } from "../../lib/size.ts";
import { decodeText } from "../../lib/utf8.ts";

/** Returns the bytes from `offset`; fewer than `length` at the end of the file. */
export type ReadAt = (offset: number, length: number) => Uint8Array;

export interface LineLimits {
  readonly lines: number;
  /** Bytes of all lines together; a single line that is longer is cut. */
  readonly bytes: number;
}

export interface Lines {
  /** In the order of the file, without their ends. */
  readonly lines: readonly string[];
  /** Where the next read goes on. */
  readonly next: number;
  /** Whether a limit left something out. */
  readonly truncated: boolean;
  readonly bytesRead: number;
  /** NUL bytes that were left out: a writer that goes on after a truncation leaves a hole of them. */
  readonly zeros: number;
}

interface Piece {
  readonly bytes: Uint8Array;
  /** Offset in the file behind the line and its newline. */
  readonly end: number;
}

const BLOCK = 64 * KIB;
/** A longer line is cut into several. */
const LINE_MAX = 64 * KIB;
/** Most bytes of one read: a hole of zeros, or a line without an end, is not read whole. */
const READ_MAX = MIB;
const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/**
 * The last lines of a file of `size` bytes, read backwards: a large file costs no more than a small one. `isComplete` says
 * whether the last line counts although no newline follows it.
 */
export function linesAtEnd(read: ReadAt, size: number, limits: LineLimits, isComplete: boolean): Lines {
  let text = new Uint8Array(0);
  let from = size;
  while (from > 0 && size - from < READ_MAX && !holdsEnough(text, limits)) {
    const start = Math.max(0, from - BLOCK);
    text = joined(read(start, from - start), text);
    from = start;
  }
  // Before the first newline stands the rest of a line that began earlier.
  const skipped = from === 0 ? 0 : text.indexOf(NEWLINE) + 1;
  const { pieces, next } = cut(text.subarray(skipped), from + skipped, isComplete);
  const kept = within(pieces.toReversed(), limits).toReversed();
  const truncated = kept.length < limits.lines && (kept.length < pieces.length || from > 0);
  return { ...decoded(kept), next, truncated, bytesRead: size - from };
}

/** The lines from `offset` on, the oldest first; what the limits leave out is read next time. */
export function linesFrom(
  read: ReadAt,
  offset: number,
  size: number,
  limits: LineLimits,
  isComplete: boolean,
): Lines {
  let text = new Uint8Array(0);
  let end = offset;
  while (end < size && end - offset < READ_MAX && !holdsEnough(text, limits)) {
    const block = read(end, Math.min(BLOCK, size - end));
    if (block.length === 0) break;
    text = joined(text, block);
    end += block.length;
  }
  const { pieces, next } = cut(text, offset, isComplete && end >= size);
  const kept = within(pieces, limits);
  const isAll = kept.length === pieces.length;
  return {
    ...decoded(kept),
    next: isAll ? next : (kept.at(-1)?.end ?? offset),
    truncated: !isAll || end < size,
    bytesRead: end - offset,
  };
}

/** Whether the text has more lines, or more bytes, than are wanted. */
function holdsEnough(text: Uint8Array, { lines, bytes }: LineLimits): boolean {
  if (text.length > bytes + LINE_MAX) return true;
  let count = 0;
  for (let at = text.indexOf(NEWLINE); at >= 0 && count <= lines; at = text.indexOf(NEWLINE, at + 1)) count++;
  return count > lines;
}

/** Cuts at newlines, and long lines into several. `next` is where the rest without a newline begins, unless that counts. */
function cut(text: Uint8Array, at: number, isComplete: boolean): { pieces: Piece[]; next: number } {
  const pieces: Piece[] = [];
  let from = 0;
  while (from < text.length) {
    const newline = text.indexOf(NEWLINE, from);
    const end = newline < 0 ? text.length : newline;
    if (end - from > LINE_MAX) {
      pieces.push({ bytes: text.subarray(from, from + LINE_MAX), end: at + from + LINE_MAX });
      from += LINE_MAX;
    } else if (newline < 0 && !isComplete) break;
    else {
      const behind = newline < 0 ? end : end + 1;
      pieces.push({ bytes: text.subarray(from, end), end: at + behind });
      from = behind;
    }
  }
  return { pieces, next: at + from };
}

/** The first pieces that fit; a first one that is too long alone is cut. */
function within(pieces: readonly Piece[], { lines, bytes }: LineLimits): Piece[] {
  const kept: Piece[] = [];
  let left = bytes;
  for (const piece of pieces.slice(0, lines)) {
    if (piece.bytes.length > left && kept.length > 0) break;
    kept.push({ ...piece, bytes: piece.bytes.subarray(0, left) });
    left -= piece.bytes.length;
  }
  return kept;
}

function decoded(pieces: readonly Piece[]): { lines: string[]; zeros: number } {
  let zeros = 0;
  const lines: string[] = [];
  for (const { bytes } of pieces) {
    const filled = bytes.includes(0) ? bytes.filter((byte) => byte !== 0) : bytes;
    zeros += bytes.length - filled.length;
    const end = filled.at(-1) === CARRIAGE_RETURN ? -1 : undefined;
    if (filled.length > 0 || bytes.length === 0) lines.push(decodeText(filled.subarray(0, end)));
  }
  return { lines, zeros };
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}
