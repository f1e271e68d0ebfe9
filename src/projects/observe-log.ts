// The end of a container's log, for a message: what Docker frames by stream, in lines that fit into one of a report. Pure.
import { printable } from "../lib/printable.ts";
import { decodeText } from "../lib/utf8.ts";

const LINES = 3;
const CHARACTERS = 500;
const HEADER = 8;

/** Without the frames around standard output and standard error; a terminal's log has none. */
function unframe(log: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  const view = new DataView(log.buffer, log.byteOffset, log.byteLength);
  for (let at = 0; at + HEADER <= log.length;) {
    const size = view.getUint32(at + 4);
    if ((log[at] ?? 0) > 2) return log;
    parts.push(log.subarray(at + HEADER, at + HEADER + size));
    at += HEADER + size;
  }
  return Buffer.concat(parts);
}

/** "panic: no database | goroutine 1": at most three lines and 500 characters, the last ones. */
export function lastLines(log: Uint8Array, framed: boolean): string {
  const lines = decodeText(framed ? unframe(log) : log)
    .split(/\r?\n/)
    .map((line) => printable(line.replaceAll(ESCAPES, "").trim()))
    .filter((line) => line !== "");
  const text = lines.slice(-LINES).join(" | ");
  const characters = Array.from(text.slice(-4 * CHARACTERS));
  return characters.length > CHARACTERS ? `…${characters.slice(-CHARACTERS).join("")}` : text;
}

/** Colours and the like. */
// oxlint-disable-next-line no-control-regex
const ESCAPES = /\x1b\[[0-9;?]*[A-Za-z]/g;
