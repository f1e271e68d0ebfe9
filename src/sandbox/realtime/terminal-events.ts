// Handles the events of agents about terminals; the acks carry the status of the session.
import * as v from "valibot";
import {
  EXIT_REASON_MAX,
  OUTPUT_FRAME_MAX,
  TERMINAL_COLS,
  TERMINAL_ERROR_MAX,
  TERMINAL_ROWS,
} from "../../protocol/noderax/terminal.ts";
import { notFound } from "../http/api-error.ts";
import type { TerminalRow } from "../entities.ts";
import type { Store } from "../store.ts";
import { type AgentEvent, agentEvent, maybe, boundedText, uuidText } from "./event.ts";
import type { SandboxTerminals } from "./terminals.ts";

/** 65 536 characters: 49 152 bytes. */
const PAYLOAD_MAX = (OUTPUT_FRAME_MAX / 3) * 4;
const STANDARD = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Standard alphabet, padded. Encoding it again is the fast way to see that; only odd bits at the end differ then. */
const isBase64 = (payload: string): boolean =>
  Buffer.from(payload, "base64").toString("base64") === payload || STANDARD.test(payload);

function bytesOf(payload: string): number {
  const padding = payload.endsWith("==") ? 2 : payload.endsWith("=") ? 1 : 0;
  return (payload.length / 4) * 3 - padding;
}

const within = ({ min, max }: { min: number; max: number }) =>
  maybe(v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max)));

const about = <const T extends string>(type: T) => ({
  type: maybe(v.literal(type)),
  sessionId: uuidText,
  timestamp: maybe(v.string()),
});

const Opened = v.strictObject({
  ...about("terminal.opened"),
  cols: within(TERMINAL_COLS),
  rows: within(TERMINAL_ROWS),
});
const Output = v.strictObject({
  ...about("terminal.output"),
  direction: v.picklist(["stdout", "stderr", "system"]),
  payload: v.pipe(v.string(), v.maxLength(PAYLOAD_MAX), v.check(isBase64)),
});
const Exited = v.strictObject({
  ...about("terminal.exited"),
  exitCode: maybe(v.pipe(v.number(), v.integer())),
  reason: maybe(boundedText(0, EXIT_REASON_MAX)),
});
const Failed = v.strictObject({ ...about("terminal.error"), message: boundedText(0, TERMINAL_ERROR_MAX) });

export function terminalEvents(store: Store, terminals: SandboxTerminals): Record<string, AgentEvent> {
  const find = (id: string, nodeId: string): TerminalRow => {
    const terminal = store.terminals.find("id = ? AND nodeId = ?", id.toLowerCase(), nodeId);
    if (!terminal) throw notFound(`Terminal session ${id} was not found.`);
    return terminal;
  };
  const ackOf = ({ id, status }: TerminalRow): object => ({ ok: true, sessionId: id, status });
  return {
    "terminal.opened": agentEvent(Opened, ({ sessionId, cols, rows }, nodeId) => {
      const size = { ...(cols === undefined ? {} : { cols }), ...(rows === undefined ? {} : { rows }) };
      return ackOf(terminals.opened(find(sessionId, nodeId), size));
    }),
    "terminal.output": agentEvent(Output, ({ sessionId, direction, payload }, nodeId) => {
      const kind = direction === "system" ? "system" : "output";
      const seq = terminals.output(find(sessionId, nodeId), kind, payload, bytesOf(payload));
      return { ok: true, sessionId, seq };
    }),
    "terminal.exited": agentEvent(Exited, ({ sessionId, exitCode = null, reason = null }, nodeId) =>
      ackOf(terminals.exited(find(sessionId, nodeId), { exitCode, reason })),
    ),
    "terminal.error": agentEvent(Failed, ({ sessionId, message }, nodeId) =>
      ackOf(terminals.failed(find(sessionId, nodeId), message)),
    ),
  };
}
