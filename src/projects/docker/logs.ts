// Reads the log of a container: removes Docker's frames, and takes its last lines for a message. Pure.
//
// A container without a terminal has a log in frames: a header of eight bytes (stream, three zeros, length) before each piece.
import { printable } from "../../lib/printable.ts";
import { decodeText } from "../../lib/utf8.ts";

const HEADER = 8;
/** stdin, stdout, stderr, and a message of the daemon about a log that it cannot read further. */
const STREAMS = 4;

/** Takes chunks that may be cut anywhere and returns the contents of the frames, without delay; empty for a header alone. */
export type Unframe = (chunk: Uint8Array) => Uint8Array;

/** From the first bytes that are not a header on, the log has no frames and is returned unchanged. */
export function createUnframe(): Unframe {
  const header = Buffer.alloc(HEADER);
  /** Bytes of the current header that were read. */
  let read = 0;
  /** Bytes of the current frame that are still to come. */
  let left = 0;
  let isPlain = false;

  return (chunk) => {
    if (isPlain) return chunk;
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < chunk.length;) {
      if (left > 0) {
        const piece = chunk.subarray(at, at + left);
        pieces.push(piece);
        left -= piece.length;
        at += piece.length;
        continue;
      }
      const part = chunk.subarray(at, at + HEADER - read);
      header.set(part, read);
      read += part.length;
      at += part.length;
      if (!isHeader(header.subarray(0, read))) {
        isPlain = true;
        pieces.push(header.subarray(0, read), chunk.subarray(at));
        break;
      }
      if (read < HEADER) break;
      left = header.readUInt32BE(4);
      read = 0;
    }
    // Often a frame is one line: joined they are cheaper to pass on.
    const [first] = pieces;
    return first !== undefined && pieces.length === 1 ? first : Buffer.concat(pieces);
  };
}

/** Whether these are the first bytes of a header. */
const isHeader = (bytes: Uint8Array): boolean =>
  bytes.subarray(0, 4).every((byte, at) => (at === 0 ? byte < STREAMS : byte === 0));

/** At most so much of the end of a log. */
const LINES = 3;
const CHARACTERS = 500;

/** The end of a log in one line for a message: "panic: no database | goroutine 1". `framed`: it has Docker's frames. */
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
/** Control sequences of a terminal, such as colours. */
const ESCAPES = new RegExp(`${ESCAPE}\\[[0-9;?]*[A-Za-z]`, "g");
