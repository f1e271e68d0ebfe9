// Builds the events about a terminal: known keys only, sizes within the limits of the contract.
import {
  OutputAck,
  TERMINAL_ERROR_MAX,
  TerminalAck,
  type TerminalError,
  type TerminalExited,
  type TerminalOpened,
  type TerminalOutput,
} from "../protocol/noderax/terminal.ts";
import type { Delivery } from "./delivery.ts";
import { type SessionEnd, clip } from "./session-end.ts";

const now = (): string => new Date().toISOString();

export function opened(sessionId: string, size: { cols: number; rows: number }): Delivery<TerminalAck> {
  const body: TerminalOpened = { sessionId, ...size, timestamp: now() };
  return { event: "terminal.opened", body, answer: TerminalAck };
}

export function output(sessionId: string, frame: Uint8Array): Delivery<OutputAck> {
  const payload = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength).toString("base64");
  const body: TerminalOutput = { sessionId, direction: "stdout", payload, timestamp: now() };
  return { event: "terminal.output", body, answer: OutputAck };
}

export function exited(sessionId: string, { exitCode, reason }: SessionEnd): Delivery<TerminalAck> {
  const why = reason === undefined || reason === "" ? {} : { reason };
  const body: TerminalExited = { sessionId, exitCode, ...why, timestamp: now() };
  return { event: "terminal.exited", body, answer: TerminalAck };
}

export function failed(sessionId: string, message: string): Delivery<TerminalAck> {
  const body: TerminalError = { sessionId, message: clip(message, TERMINAL_ERROR_MAX), timestamp: now() };
  return { event: "terminal.error", body, answer: TerminalAck };
}
