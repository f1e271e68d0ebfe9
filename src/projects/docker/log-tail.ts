// The end of a container's log, for a message: what Docker frames by stream, in lines that fit into one of a report. Pure.
import { printable } from "../../lib/printable.ts";
import { decodeText } from "../../lib/utf8.ts";
import { createUnframe } from "./logs.ts";

const LINES = 3;
const CHARACTERS = 500;

/** "panic: no database | goroutine 1": at most three lines and 500 characters, the last ones. */
export function lastLines(log: Uint8Array, framed: boolean): string {
  const lines = decodeText(framed ? createUnframe()(log) : log)
    .split(/\r?\n/)
    .map((line) => printable(line.replaceAll(ESCAPES, "").trim()))
    .filter((line) => line !== "");
  const text = lines.slice(-LINES).join(" | ");
  const characters = Array.from(text.slice(-4 * CHARACTERS));
  return characters.length > CHARACTERS ? `…${characters.slice(-CHARACTERS).join("")}` : text;
}

const ESCAPE = String.fromCodePoint(0x1b);
/** Colours and the like. */
const ESCAPES = new RegExp(`${ESCAPE}\\[[0-9;?]*[A-Za-z]`, "g");
