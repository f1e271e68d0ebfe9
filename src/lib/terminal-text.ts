// Filters untrusted output for a terminal: keeps its colours and escapes all other control characters.
//
// Kept: text, line feeds (also CR LF), tabs, and SGR sequences (ESC [ … m) except "conceal", which hides
// text. Escaped as \x1b, \r, \x07, …: all other control characters, so that the output cannot set titles,
// move the cursor, make the terminal answer, forge links or overwrite lines. Characters that reorder a line
// are written as \u202e.
import { UNPRINTABLE, printable } from "./printable.ts";

export interface TerminalFilter {
  /** Returns the text that can be shown now; keeps the start of an incomplete sequence. */
  write(bytes: Uint8Array): string;
  /** Returns the text kept so far, and a reset if colours are still set. */
  end(): string;
}

const ESC = "\u001b";
/** Longest parameters of a colour sequence: "38;2;255;255;255;48;2;255;255;255;1;3;4" has 40 characters. */
const SGR = `${ESC}\\[[\\d;:]{0,60}m`;
const SEQUENCES = new RegExp(`${SGR}|\\r\\n|\\t|\\n|${UNPRINTABLE.source}`, "gu");
/** The start of such a sequence, at the end of the text. */
const BEGINNING = new RegExp(`(?:\\r|${ESC}(?:\\[[\\d;:]{0,60})?)$`);

/** Creates a filter that makes one stream of output safe to print on a terminal. */
export function createTerminalFilter(): TerminalFilter {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let waiting = "";
  let isColoured = false;

  function show(text: string): string {
    return text.replace(SEQUENCES, (sequence) => {
      if (sequence === "\n" || sequence === "\t" || sequence === "\r\n") return sequence;
      if (!sequence.endsWith("m") || conceals(sequence)) return printable(sequence);
      isColoured = !/[[;]0*m$/.test(sequence);
      return sequence;
    });
  }

  return {
    write(bytes) {
      const text = waiting + decoder.decode(bytes, { stream: true });
      waiting = BEGINNING.exec(text)?.[0] ?? "";
      return show(text.slice(0, text.length - waiting.length));
    },
    end() {
      const rest = show(waiting + decoder.decode());
      waiting = "";
      return isColoured ? `${rest}\u001b[0m` : rest;
    },
  };
}

const encoder = new TextEncoder();

/** Filters a whole text. */
export function terminalText(text: string): string {
  if (text.search(UNPRINTABLE) < 0) return text;
  const filter = createTerminalFilter();
  return filter.write(encoder.encode(text)) + filter.end();
}

/**
 * Returns whether an SGR sequence sets attribute 8. The numbers of a colour ("38;5;8", "48;2;8;8;8") are no
 * attributes.
 */
function conceals(sequence: string): boolean {
  const codes = sequence.slice(2, -1).split(";");
  for (let at = 0; at < codes.length; at++) {
    const code = Number(codes[at]?.split(":")[0]);
    if (code === 8) return true;
    if ([38, 48, 58].includes(code)) at += codes[at + 1] === "5" ? 2 : codes[at + 1] === "2" ? 4 : 0;
  }
  return false;
}
