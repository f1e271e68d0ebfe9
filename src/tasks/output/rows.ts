// Decides which part of a task's output becomes the next log row, and when. Pure.
//
// The control plane shows the first 100 rows of a task only, and joins the lines of a row. So each line gets its own row
// while lines are few and slow; later rows are few and large. The last rows are reserved for the end of the output.
//
//   rows 0 … 9      the head, whatever comes later
//   rows … 59       a line each, while they are few
//   rows … 79       as the output comes, in order, nothing left out while everything pending still fits
//   rows … 95       after the end: the rest, or its last part
//   rows … 99       notes of the agent itself (a limit, output still held open)
import { humanSize } from "../../lib/size.ts";
import { shortId } from "../../lib/text.ts";
import type { SteadyTime } from "../../lib/clock.ts";
import { type Duration, seconds } from "../../lib/duration.ts";
import { takeText } from "../../lib/utf8.ts";
import { LOG_LINE_MAX, LOG_ROWS_VISIBLE } from "../../protocol/noderax/limits.ts";

export type Stream = "stdout" | "stderr";
export const STREAMS = ["stdout", "stderr"] as const;

/** How much of a task's output has been turned into rows. */
export interface Shipped {
  readonly rows: number;
  readonly lastRowAt: SteadyTime;
  /** Bytes of each stream that are in rows, or were skipped. */
  readonly offset: Readonly<Record<Stream, number>>;
  /** Hash of the last row: no row may equal the one before it, so that an unanswered call can be checked. */
  readonly lastRow: string;
}

export const nothingShipped: Shipped = {
  rows: 0,
  lastRowAt: 0,
  offset: { stdout: 0, stderr: 0 },
  lastRow: "",
};

export interface Pending {
  /** Bytes not in rows yet, of each stream. */
  readonly bytes: Readonly<Record<Stream, number>>;
  /** The stream with the oldest of them. */
  readonly oldest: Stream | undefined;
  /** Bytes of that stream before the next ones of the other came. */
  readonly run: number;
  /** How many runs of one stream there are, counted up to `LOG_ROWS_VISIBLE`. */
  readonly runs: number;
  /** How many lines there are, a last one without an end included; Infinity when they fill more than a row. */
  readonly lines: number;
}

export type RowDecision =
  | { readonly do: "nothing" }
  | { readonly do: "wait"; readonly until: SteadyTime }
  /** Up to `max` bytes of the stream; one line when `single`. */
  | { readonly do: "row"; readonly stream: Stream; readonly max: number; readonly single: boolean }
  /** Skip so many bytes of the stream, with a row that says so. */
  | { readonly do: "skip"; readonly stream: Stream; readonly bytes: number };

/** The first rows, of which nothing is skipped. */
const HEAD = 10;
/** Rows reserved for notes of the agent. */
const NOTES = 4;
/** Rows reserved for the end of the output. */
const TAIL = 16;
/** Rows that may be sent while the command runs. */
const LIVE = LOG_ROWS_VISIBLE - NOTES - TAIL;
/** Rows that may hold a single line. */
const SINGLES = 60;
/** Rows that may be sent at once: a short command ends before its lines must share rows. */
const BURST = 16;
/** Until this age a command counts as short. */
const YOUNG = seconds(1);
/** Up to this many pending lines, or changes between the streams, the output counts as slow. */
const SLOW = 3;
/** A row cut at a line holds at least this many code points, and so at least as many bytes. */
const ROW_FILL = 4_000;
/** Bytes of a stream that no row exceeds. */
export const ROW_WINDOW = LOG_LINE_MAX * 4;

/**
 * Returns the age of a task at which live row `n` may be sent: the burst at once, then one a second for 12 s, then 10.3 % later each.
 * 12 s · 1.103^51 is 29.7 minutes, so that the live rows last for the 30 minutes a task may run.
 */
function notBefore(n: number): Duration {
  const later = Math.max(0, n - BURST);
  return seconds(later < 12 ? later : 12 * 1.103 ** (later - 12));
}

/** Returns the next step for the pending output. `ended`: the output is complete. All times are of the steady clock. */
export function decideRow(
  shipped: Shipped,
  pending: Pending,
  startedAt: SteadyTime,
  ended: boolean,
  now: SteadyTime,
): RowDecision {
  if (pending.oldest === undefined) return { do: "nothing" };
  const single = isSingle(shipped, pending, now - startedAt, ended);
  if (!ended) {
    if (shipped.rows >= LIVE) return { do: "nothing" };
    const due = startedAt + notBefore(shipped.rows);
    const pace = single || shipped.rows === 0 ? due : Math.max(shipped.lastRowAt + seconds(1), due);
    if (now < pace) return { do: "wait", until: pace };
  }
  const room = LOG_ROWS_VISIBLE - NOTES - shipped.rows;
  const gap = shipped.rows < HEAD ? undefined : gapFor(pending.bytes, room, ended);
  if (gap !== undefined) return { do: "skip", ...gap };
  // Only after repeated skips is there no room here; the last rows have been sent.
  if (room <= 0) return { do: "nothing" };
  const inOrder = single || (ended ? pending.runs + rowsFor(pending.bytes) <= room : pending.runs <= SLOW);
  const max = inOrder ? pending.run : pending.bytes[pending.oldest];
  return { do: "row", stream: pending.oldest, max, single };
}

/** Whether the next line gets its own row: while there are enough rows, and the pending output does not grow. */
function isSingle({ rows }: Shipped, { lines }: Pending, age: Duration, ended: boolean): boolean {
  if (lines > SINGLES - rows) return false;
  if (ended || age < YOUNG || lines <= SLOW) return true;
  // Whether that many rows may be sent at this moment.
  return notBefore(rows + lines - 1) <= age;
}

const rowsFor = (bytes: Pending["bytes"]): number =>
  Math.ceil(bytes.stdout / ROW_FILL) + Math.ceil(bytes.stderr / ROW_FILL);

/** Returns the stream to shorten and by how much; undefined when the pending output fits into the remaining rows. */
function gapFor(
  bytes: Pending["bytes"],
  room: number,
  ended: boolean,
): { stream: Stream; bytes: number } | undefined {
  const need = { stdout: Math.ceil(bytes.stdout / ROW_FILL), stderr: Math.ceil(bytes.stderr / ROW_FILL) };
  if (need.stdout + need.stderr <= room) return undefined;
  // Live, show the newest row's worth; at the end, share the rows left, less one for each note about a gap.
  const share = ended ? Math.max(0, room - 2) : 2;
  const small: Stream = need.stdout <= need.stderr ? "stdout" : "stderr";
  const quota = Math.min(need[small], Math.floor(share / 2));
  const large: Stream = small === "stdout" ? "stderr" : "stdout";
  for (const [stream, rows] of [
    [large, share - quota],
    [small, quota],
  ] as const) {
    if (need[stream] > rows) return { stream, bytes: bytes[stream] - rows * ROW_FILL };
  }
  return undefined;
}

export interface CutRow {
  readonly line: string;
  /** How many bytes of the stream it takes. */
  readonly bytes: number;
  readonly hash: string;
}

/**
 * Cuts one row from the front of what is pending, which must not be empty: at most 5000 code points, whole characters,
 * ending with a line where one ends in its last fifth, or with the first line when `single`. The line feed at its end is
 * left out, since rows are shown one below the other.
 */
export function cutRow(pending: Uint8Array, lastRow: string, single = false): CutRow {
  const bytes = single ? pending.subarray(0, firstLine(pending)) : pending;
  let { text, bytes: used } = takeText(bytes, LOG_LINE_MAX, true);
  if (used < bytes.length) {
    const lines = text.slice(0, text.lastIndexOf("\n") + 1);
    if (countOf(lines) >= ROW_FILL) ({ text, bytes: used } = takeText(bytes, countOf(lines), true));
  }
  const candidates = [text.endsWith("\n") && text.length > 1 ? text.slice(0, -1) : text, text];
  const fresh = candidates.find((line) => hashOf(line) !== lastRow);
  if (fresh !== undefined) return { line: fresh, bytes: used, hash: hashOf(fresh) };
  // The same text again: send one character less, so that it differs. A single character cannot be made different.
  const less = takeText(bytes, Math.max(1, countOf(text) - 1), true);
  return { line: less.text, bytes: less.bytes, hash: hashOf(less.text) };
}

/** Length of the first line, with the empty ones before it: two rows that are empty would be equal. */
function firstLine(bytes: Uint8Array): number {
  let start = 0;
  while (bytes[start] === LINE_FEED) start++;
  const end = bytes.indexOf(LINE_FEED, start);
  return end < 0 ? bytes.length : end + 1;
}

const LINE_FEED = 0x0a;

/** Lines in what is pending, a last one without an end included. */
export function countLines(bytes: Uint8Array): number {
  let lines = 0;
  for (let at = 0; at < bytes.length; at++) if (bytes[at] === LINE_FEED) lines++;
  return bytes.length === 0 || bytes.at(-1) === LINE_FEED ? lines : lines + 1;
}

/** Code points, which the control plane counts. */
const countOf = (text: string): number => Array.from(text).length;
const hashOf = (line: string): string => Bun.hash(line).toString(36);

/** Returns the note in place of skipped output. */
export function gapNote(stream: Stream, lines: number, bytes: number, taskId: string): string {
  const count = lines === 0 ? "part of a line" : lines === 1 ? "1 line" : `${group(lines)} lines`;
  return `… ${count} (${humanSize(bytes)}) of ${stream} not shown here; full output on the node: noderax-agent task logs ${shortId(taskId)}`;
}

const group = (n: number): string => String(n).replace(/\B(?=(\d{3})+$)/g, " ");
