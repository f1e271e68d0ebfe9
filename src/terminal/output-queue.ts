// What a shell has written and the control plane has not taken yet: bytes in, frames out. Bounded, without effects.
import { completeLength } from "../lib/utf8.ts";
import { OUTPUT_FRAME_MAX } from "../protocol/noderax/terminal.ts";

/** Above this the pty is paused: the next frame and one behind it are all a slow reader can use. */
const HIGH_WATER = 2 * OUTPUT_FRAME_MAX;
const LOW_WATER = OUTPUT_FRAME_MAX;

/** Whether the pty should stand still, given whether it does now. */
export const shouldPause = (paused: boolean, size: number): boolean =>
  paused ? size > LOW_WATER : size >= HIGH_WATER;

/** How far behind a cut the end of the line is looked for. */
const LINE_SEARCH = 4_096;
/** A buffer that was larger than this is not kept once it is empty: most terminals stand idle most of the time. */
const KEPT_CAPACITY = 16_384;

export interface OutputQueue {
  /** Bytes waiting. */
  size(): number;
  /** Takes a copy. Beyond the limit the oldest half goes, up to the end of a line, and the next frame says so. */
  push(bytes: Uint8Array): void;
  /**
   * The next frame: at most `OUTPUT_FRAME_MAX` bytes, ending where a character ends, since the transcript decodes each
   * frame by itself. Undefined when there is none. A character that has only begun waits, unless `flush`.
   */
  take(flush: boolean): Uint8Array | undefined;
}

export function createOutputQueue(limit: () => number): OutputQueue {
  let buffer = new Uint8Array(0);
  let start = 0;
  let end = 0;
  let skipped = 0;

  function makeRoom(more: number): void {
    if (end + more <= buffer.length) return;
    const size = end - start;
    const capacity = Math.max(2_048, 2 ** Math.ceil(Math.log2(size + more)));
    const target = capacity === buffer.length ? buffer : new Uint8Array(capacity);
    target.set(buffer.subarray(start, end));
    [buffer, start, end] = [target, 0, size];
  }

  function append(bytes: Uint8Array): void {
    makeRoom(bytes.length);
    buffer.set(bytes, end);
    end += bytes.length;
  }

  /** Drops at least `count` of what waits; what is left begins with a line, or at least with a character. */
  function drop(count: number): void {
    const from = start + Math.min(count, end - start);
    const newline = buffer.subarray(from, Math.min(end, from + LINE_SEARCH)).indexOf(0x0a);
    let cut = newline < 0 ? from : from + newline + 1;
    while (cut < end && cut - from < LINE_SEARCH && ((buffer[cut] ?? 0) & 0xc0) === 0x80) cut++;
    skipped += cut - start;
    start = cut;
  }

  return {
    size: () => end - start,
    push(bytes) {
      append(bytes);
      const size = end - start;
      if (size > limit()) drop(size - Math.floor(limit() / 2));
    },
    take(flush) {
      const notice = skipped > 0 ? Buffer.from(skipNotice(skipped)) : undefined;
      const room = OUTPUT_FRAME_MAX - (notice?.length ?? 0);
      const head = buffer.subarray(start, Math.min(end, start + room));
      const isAll = start + head.length === end;
      const length = flush && isAll ? head.length : completeLength(head);
      if (length === 0 && notice === undefined) return undefined;
      const frame = Buffer.concat([notice ?? new Uint8Array(0), head.subarray(0, length)]);
      skipped = 0;
      start += length;
      if (start === end) {
        [start, end] = [0, 0];
        if (buffer.length > KEPT_CAPACITY) buffer = new Uint8Array(0);
      }
      return frame;
    },
  };
}

/** CAN ends an escape sequence that was cut in two, `ESC [ 0 m` a colour whose end was skipped. */
const skipNotice = (bytes: number): string =>
  `\u0018\u001B[0m\r\n[… ${readableSize(bytes)} of output skipped …]\r\n`;

export function readableSize(bytes: number): string {
  if (bytes < 1_000) return `${bytes} bytes`;
  return bytes < 1_000_000 ? `${(bytes / 1_000).toFixed(1)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}
