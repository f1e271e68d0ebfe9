// Reads a log file: its last lines, or on from a cursor through rotation, truncation and a reused inode. Pure but for the port.
//
//   cursor fits the file                  ─▶ go on behind it
//   it fits a rotated file (name.1, …)    ─▶ finish that one, then the younger ones, then the file from its beginning
//   it fits nothing                       ─▶ "rotated" or "truncated": a warning, and on with what was written since
import { createHash } from "node:crypto";
import { type LineLimits, type Lines, type ReadAt, linesAtEnd, linesFrom } from "./lines.ts";

/** A file that is open for reading. */
export interface LogFile {
  readonly name: string;
  /** Device and inode: "2049:131075". */
  readonly identity: string;
  readonly size: number;
  /** Time since its last change by the clock of the machine, in ms. */
  readonly quietFor: number;
  readonly read: ReadAt;
}

/** The files of one log. */
export interface LogFiles {
  readonly current: LogFile;
  /** Rotated files that can be read, the oldest first; opened when asked for. */
  readonly rotated: () => readonly LogFile[];
}

/** Position in a log, as it travels through the control plane. */
export interface FileCursor {
  /** Identity of the file and a hash of what stands before the offset: "2049:131075:9c56cc51b374c3ba". */
  readonly fileInode: string;
  readonly fileOffset: number;
}

export type CursorReset = "rotated" | "truncated";

export interface FileScan {
  readonly lines: readonly string[];
  readonly cursor: FileCursor;
  readonly reset: CursorReset | undefined;
  readonly truncated: boolean;
  readonly bytesRead: number;
  readonly warnings: readonly string[];
}

/** Bytes before the offset that tell whether a file is the one that was read. */
const HASHED = 256;
/** A last line without a newline counts once nothing was written for this long, in ms. */
const SETTLED = 3_000;

/** The last lines, with a cursor behind them. */
export function scanEnd({ current }: LogFiles, limits: LineLimits): FileScan {
  return scanned(current, linesAtEnd(current.read, current.size, limits, true), undefined, []);
}

/** What was written since the cursor, the oldest first. Later scans with the returned cursor bring the rest. */
export function scanSince(files: LogFiles, cursor: FileCursor, limits: LineLimits): FileScan {
  const { current } = files;
  if (fits(current, cursor)) return onward([current], cursor.fileOffset, limits, undefined, []);
  const isSame = current.identity === identityOf(cursor);
  const rotated = files.rotated();
  const at = rotated.findIndex((file) => fits(file, cursor));
  // The file itself was truncated, and what it held was copied before.
  if (at >= 0)
    return onward(
      [...rotated.slice(at), current],
      cursor.fileOffset,
      limits,
      isSame ? "truncated" : "rotated",
      isSame ? [COPIED] : [],
    );
  return onward([current], 0, limits, isSame ? "truncated" : "rotated", [isSame ? TRUNCATED : ROTATED]);
}

const COPIED = "the log was copied and truncated: what was written between the two is lost, for every reader";
const TRUNCATED = "the log was truncated: lines that were not read yet are gone";
const ROTATED =
  "the log was rotated, and the file that was read last is gone or compressed: lines may be missing before these";

/**
 * Reads the files one after the other, the first from `offset`, until a limit is reached. The cursor stays in a file until
 * the next one has lines: at the beginning of an empty file there is nothing to recognize it by.
 */
function onward(
  files: readonly LogFile[],
  offset: number,
  limits: LineLimits,
  reset: CursorReset | undefined,
  warnings: readonly string[],
): FileScan {
  let all: Lines = { lines: [], next: offset, truncated: false, bytesRead: 0, zeros: 0 };
  for (const [index, file] of files.entries()) {
    const isLast = index === files.length - 1;
    const left = { lines: limits.lines - all.lines.length, bytes: limits.bytes - sizeOf(all.lines) };
    const start = index === 0 ? offset : 0;
    if (left.lines <= 0 || left.bytes <= 0)
      return scanned(file, { ...all, next: start, truncated: true }, reset, warnings);
    const isComplete = !isLast || file.quietFor >= SETTLED;
    const more = linesFrom(file.read, start, file.size, left, isComplete);
    const before = files[index - 1];
    if (before !== undefined && isLast && more.next === 0)
      return scanned(before, { ...all, truncated: false }, index === 1 ? undefined : reset, warnings);
    all = {
      lines: [...all.lines, ...more.lines],
      next: more.next,
      truncated: more.truncated,
      bytesRead: all.bytesRead + more.bytesRead,
      zeros: all.zeros + more.zeros,
    };
    if (more.truncated || isLast) return scanned(file, all, reset, warnings);
  }
  throw new Error("a log without a file");
}

function scanned(
  file: LogFile,
  { lines, next, truncated, bytesRead, zeros }: Lines,
  reset: CursorReset | undefined,
  warnings: readonly string[],
): FileScan {
  const holes = zeros === 0 ? [] : [`${zeros} NUL bytes were left out`];
  return {
    lines,
    cursor: { fileInode: `${file.identity}:${hashBefore(file, next)}`, fileOffset: next },
    reset,
    truncated,
    bytesRead,
    warnings: [...warnings, ...holes],
  };
}

/** Whether this is the file that the cursor was made of, with what was read still in it. */
function fits(file: LogFile, cursor: FileCursor): boolean {
  const { fileInode, fileOffset } = cursor;
  if (fileOffset > file.size) return false;
  const hash = fileInode.split(":")[2];
  // Without a hash, as another agent makes it, the inode alone decides.
  if (hash === undefined) return isOfInode(file.identity, cursor);
  return hash === hashBefore(file, fileOffset) && (fileOffset > 0 || file.identity === identityOf(cursor));
}

/** Whether the file with this identity has the inode of the file that was read; another file may have it by now. */
export const isOfInode = (identity: string, cursor: FileCursor): boolean =>
  inodeOf(identity) === inodeOf(identityOf(cursor));

const identityOf = ({ fileInode }: FileCursor): string => fileInode.split(":").slice(0, 2).join(":");
const inodeOf = (identity: string): string => identity.split(":").at(-1) ?? "";

function hashBefore(file: LogFile, offset: number): string {
  const start = Math.max(0, offset - HASHED);
  return createHash("sha256")
    .update(file.read(start, offset - start))
    .digest("hex")
    .slice(0, 16);
}

const sizeOf = (lines: readonly string[]): number =>
  lines.reduce((sum, line) => sum + Buffer.byteLength(line), 0);
