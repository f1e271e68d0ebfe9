// Docker's frames around what a container without a terminal wrote: a header of eight bytes — stream, three zeros, length —
// before each piece. Pure; nothing is held back but an incomplete header.

const HEADER = 8;
/** stdin, stdout, stderr, and the daemon's own words about a log that it cannot read on. */
const STREAMS = 4;

/** Takes what comes as it is cut, and gives what is in the frames; nothing where a header alone came. */
export type Unframe = (chunk: Uint8Array) => Uint8Array;

/** What begins like no header is a log without frames, and is passed on as it is from there. */
export function createUnframe(): Unframe {
  const header = Buffer.alloc(HEADER);
  /** Of the header. */
  let read = 0;
  /** Of the frame. */
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
    // Often a frame is a line: in one piece they are cheaper to hand on.
    const [first] = pieces;
    return first !== undefined && pieces.length === 1 ? first : Buffer.concat(pieces);
  };
}

/** Whether these are the first bytes of a header. */
const isHeader = (bytes: Uint8Array): boolean =>
  bytes.subarray(0, 4).every((byte, at) => (at === 0 ? byte < STREAMS : byte === 0));
