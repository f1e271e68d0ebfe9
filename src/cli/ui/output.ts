// How commands speak: results on stdout, notes on stderr, aligned tables, ages, colours only where they are wanted.
import { epochOf, wallNow } from "../../lib/clock.ts";
import { humanDuration } from "../../lib/duration.ts";
import type { AgentError } from "../../lib/agent-error.ts";
import { printable, printableJson } from "../../lib/printable.ts";
import { createTerminalFilter, terminalText } from "../../lib/terminal-text.ts";
import { STDERR, STDOUT, isTerminal, write, writeOut } from "../../platform/stdio.ts";
import { asCalled } from "../program.ts";

/** On a terminal only colours work, whoever wrote the text; a pipe gets it as it is. */
const shownOn = (fd: typeof STDOUT | typeof STDERR, text: string): string =>
  isTerminal(fd) ? terminalText(text) : text;

/** A line of the result. Throws an AgentError when stdout has failed, which ends the command. */
export function print(line = ""): void {
  write(STDOUT, `${shownOn(STDOUT, line)}\n`);
}

/** The flag of commands that print what tasks and containers have written. */
export const rawFlag = {
  type: "boolean",
  description: "control sequences too, as they were written (a terminal gets only colours)",
} as const;

export interface Copy {
  /** Resolves when the reader has taken it. Throws an AgentError when stdout has failed. */
  write(bytes: Uint8Array): Promise<void>;
  /** What still waits for its rest. */
  end(): void;
}

/** Copies the output of others to stdout: as it is into a pipe and with `raw`, harmless to a terminal. */
export function copyOut(raw = false): Copy {
  if (raw || !isTerminal(STDOUT)) return { write: writeOut, end() {} };
  const filter = createTerminalFilter();
  return { write: (bytes) => writeOut(filter.write(bytes)), end: () => void write(STDOUT, filter.end()) };
}

/** A line of somebody else's output. */
export function printOutput(line: string, raw = false): void {
  if (raw) write(STDOUT, `${line}\n`);
  else print(line);
}

/** The one document of a `--json` command. */
export function printJson(document: unknown): void {
  print(printableJson(JSON.stringify(document, null, 2)));
}

/** A line about the way there: progress, warnings, what happens next. */
export function note(line = ""): void {
  write(STDERR, `${shownOn(STDERR, line)}\n`);
}

export function warn(line: string): void {
  note(`${errorPaint.yellow("warning:")} ${line}`);
}

/** `error: …` and the next step, indented. */
export function printError(message: string, hints: AgentError["hint"] = []): void {
  note(`${errorPaint.red("error:")} ${asCalled(printable(message))}`);
  for (const hint of hints) note(`  ${asCalled(printable(hint))}`);
}

/** Columns as wide as their widest cell, two blanks between them, no blanks at the end of a line. */
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

/** Columns a terminal uses: colours take none, wide characters two. */
const width = (cell: string): number => Bun.stringWidth(cell);

/** "12s", "4m 10s": how long ago a time in milliseconds since the epoch was; "-" when it never was. */
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

/** Colours for a stream; every function returns its text unchanged where colours are not wanted. */
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

/** For stdout. */
export const paint = painter({ isTTY: isTerminal(STDOUT) });
const errorPaint = painter({ isTTY: isTerminal(STDERR) });
