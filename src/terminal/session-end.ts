// The end of a terminal session, as it is reported to the control plane. Pure.
import { constants } from "node:os";
import { printable } from "../lib/printable.ts";
import { EXIT_REASON_MAX } from "../protocol/noderax/terminal.ts";
import type { PtyExit } from "./pty/pty.ts";

export interface SessionEnd {
  /** Null when the shell never ran, or its end is unknown. */
  readonly exitCode: number | null;
  readonly reason: string | undefined;
}

/**
 * Returns the end of a session. A death by signal is 128 + its number, as in shells. `reason`: why the agent ended it;
 * without one, a signal is the reason.
 */
export function endOf({ exitCode, signal }: PtyExit, reason: string | undefined): SessionEnd {
  const [, number] = Object.entries(constants.signals).find(([name]) => name === signal) ?? [];
  const killed = signal === null ? undefined : `killed by ${signal}`;
  return {
    exitCode: exitCode ?? (number === undefined ? null : 128 + number),
    reason: clip(reason ?? killed, EXIT_REASON_MAX),
  };
}

/** Cuts a text to at most `max` UTF-16 units, between characters, without control characters. */
export function clip<Text extends string | undefined>(text: Text, max: number): Text | string {
  if (text === undefined) return text;
  const line = printable(text).toWellFormed();
  const cut = line.slice(0, max);
  return cut.isWellFormed() ? cut : cut.slice(0, -1);
}
