// Builds the `output` of a completion: all output when it fits, else head … tail within what the control plane stores.
import { shortId } from "../../lib/text.ts";
import { decodeText } from "../../lib/utf8.ts";
import { OUTPUT_KEPT } from "../../protocol/noderax/limits.ts";

/** Reads bytes of the whole output, both streams in the order they were observed. */
export interface OutputReader {
  readonly length: number;
  read(from: number, to: number): Uint8Array;
}

const HEAD = 3_000;
/** A UTF-16 unit is at most three bytes of UTF-8, so this many bytes fill any half. */
const WINDOW = OUTPUT_KEPT * 3;

/** Returns at most 8000 UTF-16 units, cut between characters. `taskId` is named in the note about the missing part. */
export function summarise(reader: OutputReader, taskId: string): string {
  if (reader.length <= WINDOW) {
    const text = decodeText(reader.read(0, reader.length));
    if (text.length <= OUTPUT_KEPT) return text;
  }
  // Both windows are larger than the parts kept of them: a character cut at their inner edge is dropped.
  const head = cutEnd(decodeText(reader.read(0, Math.min(reader.length, WINDOW))), HEAD);
  const end = decodeText(reader.read(Math.max(0, reader.length - WINDOW), reader.length));
  const note = `\n… output shortened; all of it on the node: noderax-agent task logs ${shortId(taskId)} …\n`;
  const tail = cutStart(end, OUTPUT_KEPT - head.length - note.length);
  return head + note + tail;
}

/** The first `max` units, less half a surrogate pair; whole lines where the last one is not too long. */
function cutEnd(text: string, max: number): string {
  const cut = text.slice(0, isHighSurrogate(text, max - 1) ? max - 1 : max);
  const line = cut.lastIndexOf("\n") + 1;
  return line > max * 0.8 ? cut.slice(0, line - 1) : cut;
}

function cutStart(text: string, max: number): string {
  const from = Math.max(0, text.length - max);
  const cut = text.slice(isHighSurrogate(text, from - 1) ? from + 1 : from);
  const line = cut.indexOf("\n") + 1;
  return line < max * 0.2 ? cut.slice(line) : cut;
}

const isHighSurrogate = (text: string, at: number): boolean =>
  at >= 0 && (text.charCodeAt(at) & 0xfc00) === 0xd800;
