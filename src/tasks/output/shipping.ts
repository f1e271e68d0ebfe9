// Turns a task's output into log rows in the outbox, at most one row pending at a time.
import { LOG_LINE_MAX, LOG_ROWS_VISIBLE } from "../../protocol/noderax/limits.ts";
import type { LogRequest, LogStream } from "../../protocol/noderax/tasks.ts";
import { type SteadyTime, isoOf } from "../../lib/clock.ts";
import type { Outbox } from "../../control/outbox.ts";
import type { ServerClock } from "../../control/server-clock.ts";
import type { Journal, TaskRecord } from "../journal.ts";
import {
  type Pending,
  ROW_WINDOW,
  STREAMS,
  type Shipped,
  type Stream,
  countLines,
  cutRow,
  decideRow,
  gapNote,
} from "./rows.ts";
import type { Spool } from "../run/spool.ts";

/** The kinds of entries a task's queue holds. */
export const OUTBOX_KIND = { log: "log", completed: "completed" } as const;

export interface Shipper {
  /** Sends a row if one is due and none is pending. True when all observed output has been turned into rows. */
  ship(ended: boolean, now: SteadyTime): boolean;
  /** Adds a row with a note of the agent. `now` is of the steady clock in both. */
  note(text: string, now: SteadyTime): void;
}

/** Journal and outbox change in one transaction: after a crash no byte is sent twice or left out. */
export function createShipper(
  task: TaskRecord,
  ports: { readonly journal: Journal; readonly outbox: Outbox; readonly serverClock: ServerClock },
): Shipper & { follow(spool: Spool, startedAt: SteadyTime): void } {
  const { journal, outbox, serverClock } = ports;
  let shipped: Shipped = task.shipped;
  let source: { spool: Spool; startedAt: SteadyTime } | undefined;

  function send(
    stream: LogStream,
    line: string,
    hash: string,
    offset: Shipped["offset"],
    now: SteadyTime,
  ): void {
    const row: LogRequest = { taskId: task.id, stream, line, timestamp: isoOf(serverClock.at(now)) };
    const next: Shipped = { rows: shipped.rows + 1, lastRowAt: now, offset, lastRow: hash };
    journal.atomically(() => {
      outbox.push(task.id, OUTBOX_KIND.log, row);
      journal.shipped(task.id, next);
    });
    shipped = next;
  }

  function note(text: string, now: SteadyTime, offset = shipped.offset): void {
    const whole = text.slice(0, LOG_LINE_MAX);
    const { line, hash } = cutRow(Buffer.from(whole), shipped.lastRow);
    // Cut short: equal to the row before, written by an earlier process. Only a gap must be stated again.
    if (line !== whole && offset === shipped.offset) return;
    // Not shown by the control plane; and a server that refuses notes must not receive a note about each.
    if (shipped.rows >= LOG_ROWS_VISIBLE && offset === shipped.offset) return;
    send("system", line, hash, offset, now);
  }

  function sendRow(spool: Spool, { stream, max, single }: RowDecision, now: SteadyTime): void {
    const from = shipped.offset[stream];
    const pending = spool.read(stream, from, Math.min(max, ROW_WINDOW));
    const { line, bytes, hash } = cutRow(pending, shipped.lastRow, single);
    send(stream, line, hash, { ...shipped.offset, [stream]: from + bytes }, now);
  }

  function skip(spool: Spool, stream: Stream, bytes: number, now: SteadyTime): void {
    const from = shipped.offset[stream];
    const to = alignToLine(spool, stream, from + bytes);
    const text = gapNote(stream, spool.countLines(stream, from, to), to - from, task.id);
    note(text, now, { ...shipped.offset, [stream]: to });
  }

  return {
    follow(spool, startedAt) {
      source = { spool, startedAt };
    },
    ship(ended, now) {
      if (source === undefined) return true;
      if (!outbox.isEmpty(task.id)) return false;
      const { spool, startedAt } = source;
      const decision = decideRow(shipped, pendingOf(spool, shipped.offset), startedAt, ended, now);
      if (decision.do === "row") sendRow(spool, decision, now);
      else if (decision.do === "skip") skip(spool, decision.stream, decision.bytes, now);
      return decision.do === "nothing";
    },
    note: (text, now) => note(text, now),
  };
}

type RowDecision = Extract<ReturnType<typeof decideRow>, { do: "row" }>;

/** Counts lines only where they could have rows of their own: this runs at every poll. */
function pendingOf(spool: Spool, offset: Shipped["offset"]): Pending {
  const pending = spool.pending(offset);
  const { stdout, stderr } = pending.bytes;
  if (stdout + stderr > ROW_WINDOW) return { ...pending, lines: Infinity };
  const counts = STREAMS.map((stream) =>
    countLines(spool.read(stream, offset[stream], pending.bytes[stream])),
  );
  return { ...pending, lines: counts.reduce((sum, count) => sum + count, 0) };
}

/** Returns the start of the next line within 4 kB, else of the next character. */
function alignToLine(spool: Spool, stream: Stream, offset: number): number {
  const bytes = spool.read(stream, offset, 4_096);
  const line = bytes.subarray(0, -1).indexOf(0x0a);
  if (line >= 0) return offset + line + 1;
  let from = 0;
  while (from < 3 && ((bytes[from] ?? 0) & 0xc0) === 0x80) from++;
  return offset + from;
}
