// Writes the log of the agent: a line for each change of state, as text for people or as JSON for machines.
import { createConsola } from "consola/core";
import { printable, printableJson } from "../lib/printable.ts";
import { STDOUT, write as writeTo } from "./stdio.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Record<string, string | number | boolean | null | undefined>;

/** `log.info("tasks", "7c1e started", { task_id })`. `part` is the loop or folder that writes. */
export interface Log {
  debug(part: string, event: string, fields?: LogFields): void;
  info(part: string, event: string, fields?: LogFields): void;
  warn(part: string, event: string, fields?: LogFields): void;
  error(part: string, event: string, fields?: LogFields): void;
}

export interface LogOptions {
  readonly level: LogLevel;
  /**
   * "human": `12:04:31 info  tasks    7c1e started`; "json": time, level, loop, event first, then the fields.
   */
  readonly format: "human" | "json";
  /** Returns false for a line that was dropped. */
  readonly write?: (line: string) => boolean | void;
}

const CONSOLA_LEVEL: Record<LogLevel, number> = { error: 0, warn: 1, info: 3, debug: 4 };

export function createLog({
  level,
  format,
  write = (line) => writeTo(STDOUT, `${line}\n`),
}: LogOptions): Log {
  const render = format === "json" ? renderJson : renderHuman;
  let dropped = 0;
  const consola = createConsola({
    level: CONSOLA_LEVEL[level],
    reporters: [
      {
        log({ type, date, args }) {
          const [part, event, fields] = args as [string, string, LogFields | undefined];
          if (dropped > 0 && write(render(date, "warn", "log", droppedText(dropped), {})) !== false)
            dropped = 0;
          if (write(render(date, type as LogLevel, part, event, fields ?? {})) === false) dropped++;
        },
      },
    ],
  });
  return {
    debug: (part, event, fields) => consola.debug(part, event, fields),
    info: (part, event, fields) => consola.info(part, event, fields),
    warn: (part, event, fields) => consola.warn(part, event, fields),
    error: (part, event, fields) => consola.error(part, event, fields),
  };
}

const droppedText = (lines: number): string =>
  `${lines} ${lines === 1 ? "line was" : "lines were"} dropped: the reader of the log did not keep up`;

/** Discards everything: for commands that print their own output. */
export const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

function renderJson(date: Date, level: LogLevel, part: string, event: string, fields: LogFields): string {
  return printableJson(JSON.stringify({ time: date.toISOString(), level, loop: part, event, ...fields }));
}

function renderHuman(date: Date, level: LogLevel, part: string, event: string, fields: LogFields): string {
  const time = date.toTimeString().slice(0, 8);
  const extra = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}=${quote(String(value))}`)
    .join("");
  return `${time} ${level.padEnd(5)} ${part.padEnd(10)} ${printable(event)}${extra}`;
}

const quote = (value: string): string =>
  /^[^\s"=\p{Cc}]*$/u.test(value) ? value : printable(JSON.stringify(value));
