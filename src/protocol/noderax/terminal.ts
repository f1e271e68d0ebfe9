// Terminals: a shell on the node for an operator's browser, over the realtime session.
//
//   pending ──terminal.opened──▶ open ──terminal.stop──▶ terminating ──terminal.exited──▶ closed
//      └── 15 s without it ──▶ failed ◀── terminal.error
//
// Payloads are standard base64 with padding of raw bytes. Each transcript chunk is decoded as UTF-8 by itself, so cut
// between characters; a browser that comes back sees the first 200 chunks, so few large ones beat many small ones.
//
// The server handles frames side by side: one `terminal.output` in flight a session, the next after its ack, and
// `terminal.exited` after the last. The ack reports a closed session: `status` other than open, `seq: null`, or
// "Terminal session <id> was not found." End the shell then: the server does not report it again. Never send
// `terminal.opened` after a stop: it opens the session again.
//
// A session outlives the agent's socket; one that the agent does not know (it was restarted) is over: answer any event
// about it with `terminal.exited`. `terminal.error` makes a live session fail.
import * as v from "valibot";
import { Ack } from "./realtime.ts";

const sessionId = v.pipe(v.string(), v.uuid());
const within = (low: number, high: number) =>
  v.pipe(v.number(), v.integer(), v.minValue(low), v.maxValue(high));

export const TERMINAL_COLS = { min: 20, max: 400, usual: 120 } as const;
export const TERMINAL_ROWS = { min: 10, max: 200, usual: 34 } as const;

/** Bytes of one `terminal.output`: 65 536 characters of base64. */
export const OUTPUT_FRAME_MAX = 49_152;
/** Characters of base64 in one `terminal.input`. */
export const INPUT_PAYLOAD_MAX = 32_768;
export const EXIT_REASON_MAX = 500;
export const TERMINAL_ERROR_MAX = 1_000;

const cols = within(TERMINAL_COLS.min, TERMINAL_COLS.max);
const rows = within(TERMINAL_ROWS.min, TERMINAL_ROWS.max);

// What the server sends. Unknown fields are accepted: newer servers may add some.

/** A size that is 0 or missing means the default. */
export const TerminalStart = v.object({
  sessionId,
  cols: v.optional(v.union([v.literal(0), cols]), 0),
  rows: v.optional(v.union([v.literal(0), rows]), 0),
  runAsRoot: v.optional(v.boolean(), false),
});
export type TerminalStart = v.InferOutput<typeof TerminalStart>;

export const TerminalInput = v.object({ sessionId, payload: v.string() });
export type TerminalInput = v.InferOutput<typeof TerminalInput>;

export const TerminalResize = v.object({ sessionId, cols, rows });
export type TerminalResize = v.InferOutput<typeof TerminalResize>;

/** Accepts any reason: the session must be stopped in any case. */
export const TerminalStop = v.object({ sessionId, reason: v.fallback(v.nullish(v.string()), undefined) });
export type TerminalStop = v.InferOutput<typeof TerminalStop>;

/** The part of an event that is needed to answer it. */
export const AboutSession = v.object({ sessionId });

// What the agent sends. Unknown keys are refused there.

export interface TerminalOpened {
  sessionId: string;
  cols: number;
  rows: number;
  timestamp: string;
}

export interface TerminalOutput {
  sessionId: string;
  direction: "stdout";
  /** Base64. */
  payload: string;
  timestamp: string;
}

export interface TerminalExited {
  sessionId: string;
  /** 0 too, and 128 + n for signal n. Null only when there is none, because the program never ran. */
  exitCode: number | null;
  reason?: string;
  timestamp: string;
}

export interface TerminalError {
  sessionId: string;
  message: string;
  timestamp: string;
}

/** Ack of opened, exited and error, with the status of the session. */
export const TerminalAck = v.object({ ...Ack.entries, status: v.optional(v.string()) });
export type TerminalAck = v.InferOutput<typeof TerminalAck>;

/** Of output: null when the session is over and the frame was dropped. */
export const OutputAck = v.object({ ...Ack.entries, seq: v.nullish(v.number()) });
export type OutputAck = v.InferOutput<typeof OutputAck>;
