// Prints for commands: results to stdout, notes to stderr, aligned tables, ages, colours only on a terminal.
import { epochOf, wallNow } from "../../lib/clock.ts";
import { humanDuration } from "../../lib/duration.ts";
import type { AgentError } from "../../lib/agent-error.ts";
import { printable, printableJson } from "../../lib/printable.ts";
import { createTerminalFilter, terminalText } from "../../lib/terminal-text.ts";
import { STDERR, STDOUT, isTerminal, write, writeOut } from "../../platform/stdio.ts";
import { asCalled } from "../program.ts";

/** Removes all control sequences but colours for a terminal; leaves the text unchanged for a pipe. */
const shownOn = (fd: typeof STDOUT | typeof STDERR, text: string): string =>
  isTerminal(fd) ? terminalText(text) : text;

/** Prints one line of the result. Throws "output.*" when stdout has failed, which ends the command. */
export function print(line = ""): void {
  write(STDOUT, `${shownOn(STDOUT, line)}\n`);
}

/** The flag of commands that print output of tasks and containers. */
export const rawFlag = {
  type: "boolean",
  description: "keep all control sequences (default: only colours reach a terminal)",
} as const;

/** Copies output of tasks and containers to stdout. */
export interface OutputCopy {
  /** Resolves when stdout has accepted the bytes. Throws "output.*" when stdout has failed. */
  write(bytes: Uint8Array): Promise<void>;
  /** Writes an incomplete last sequence that was held back. */
  end(): void;
}

/** Copies unchanged to a pipe or with `raw`; for a terminal, removes all control sequences but colours. */
export function copyOut(raw = false): OutputCopy {
  if (raw || !isTerminal(STDOUT)) return { write: writeOut, end() {} };
  const filter = createTerminalFilter();
  return { write: (bytes) => writeOut(filter.write(bytes)), end: () => void write(STDOUT, filter.end()) };
}

/** Prints one line of output of a task or container. */
export function printOutput(line: string, raw = false): void {
  if (raw) write(STDOUT, `${line}\n`);
  else print(line);
}

/** Prints the one document of a `--json` command. */
export function printJson(document: unknown): void {
  print(printableJson(JSON.stringify(document, null, 2)));
}

/** Prints one line to stderr: progress, warnings, next steps. */
export function note(line = ""): void {
  write(STDERR, `${shownOn(STDERR, line)}\n`);
}

/** Prints a warning to stderr. */
export function warn(line: string): void {
  note(`${errorPaint.yellow("warning:")} ${line}`);
}

/** Prints `error: …` to stderr, and the hints indented below it. */
export function printError(message: string, hints: AgentError["hint"] = []): void {
  note(`${errorPaint.red("error:")} ${asCalled(printable(message))}`);
  for (const hint of hints) note(`  ${asCalled(printable(hint))}`);
}

/** Aligns rows: columns as wide as their widest cell, two blanks between them, none at the end of a line. */
export function table(rows: readonly (readonly string[])[], header?: readonly string[]): string[] {
  const all = header ? [header.map((title) => title.toUpperCase()), ...rows] : rows;
  const widths: number[] = [];
  for (const row of all) {
    row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, width(cell))));
  }
  return all.map((row) =>
    row
      .map((cell, column) => cell + " ".repeat((widths[column] ?? 0) - width(cell)))
      .join("  ")
      .trimEnd(),
  );
}

/** Returns how many terminal columns a cell takes: colours none, wide characters two. */
const width = (cell: string): number => Bun.stringWidth(cell);

/** Words how long ago `then` was (milliseconds since the epoch): "12s", "4m 10s"; "-" for `undefined`. */
export const age = (then: number | undefined, now = epochOf(wallNow())): string =>
  then === undefined ? "-" : humanDuration(now - then);

export interface Paint {
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly red: (text: string) => string;
  readonly green: (text: string) => string;
  readonly yellow: (text: string) => string;
  readonly cyan: (text: string) => string;
}

/** Makes colour functions for a stream; they return the text unchanged unless it is a terminal that shows colours. */
export function painter(stream: { readonly isTTY?: boolean }, env = process.env): Paint {
  const wanted = stream.isTTY === true && !env["NO_COLOR"] && env["TERM"] !== "dumb";
  const code =
    (on: number, off: number) =>
    (text: string): string =>
      wanted ? `\u001b[${on}m${text}\u001b[${off}m` : text;
  return {
    bold: code(1, 22),
    dim: code(2, 22),
    red: code(31, 39),
    green: code(32, 39),
    yellow: code(33, 39),
    cyan: code(36, 39),
  };
}

/** Colours for stdout. */
export const paint = painter({ isTTY: isTerminal(STDOUT) });
const errorPaint = painter({ isTTY: isTerminal(STDERR) });
