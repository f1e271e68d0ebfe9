// Encodes and parses WebSocket frames (RFC 6455, 5) as a client: writes masked frames, reads a server's in any pieces.
//
// Payload is passed on as it arrives: the reader buffers a header or a control frame at most, never a message.

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
type Opcode = (typeof OPCODE)[keyof typeof OPCODE];

const CONTROL_MAX = 125;

/** Encodes a whole message, or a control frame of at most 125 bytes. Copies `payload`. */
export function clientFrame(opcode: Opcode, payload: Uint8Array): Uint8Array {
  const { length } = payload;
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const header = 2 + extended + 4;
  // The payload begins at a multiple of four, and there is room to mask whole words beyond its end.
  const start = (4 - (header % 4)) % 4;
  const words = Math.ceil(length / 4);
  const buffer = Buffer.allocUnsafeSlow(start + header + words * 4);
  buffer[start] = 0x80 | opcode;
  buffer[start + 1] = 0x80 | (extended === 0 ? length : extended === 2 ? 126 : 127);
  if (extended === 2) buffer.writeUInt16BE(length, start + 2);
  if (extended === 8) {
    buffer.writeUInt32BE(Math.floor(length / 2 ** 32), start + 2);
    buffer.writeUInt32BE(length % 2 ** 32, start + 6);
  }
  const at = start + header;
  const mask = nextMask();
  new Int32Array(buffer.buffer, at - 4, 1)[0] = mask;
  buffer.set(payload, at);
  const body = new Int32Array(buffer.buffer, at, words);
  for (let i = 0; i < words; i++) body[i] = (body[i] ?? 0) ^ mask;
  return buffer.subarray(start, at + length);
}

/** Encodes a close frame; truncates the reason to 123 bytes. */
export function closeFrame(code: number, reason = ""): Uint8Array {
  const text = Buffer.from(reason).subarray(0, CONTROL_MAX - 2);
  return clientFrame(OPCODE.close, Buffer.concat([Uint8Array.of(code >> 8, code & 0xff), text]));
}

const masks = new Int32Array(1_024);
let masksUsed = masks.length;

/** Returns an unpredictable mask; 1 024 are drawn at a time. */
function nextMask(): number {
  if (masksUsed === masks.length) {
    crypto.getRandomValues(masks);
    masksUsed = 0;
  }
  return masks[masksUsed++] ?? 0;
}

export type FrameEvent =
  /** A piece of a binary message. Shares the memory of what was read. */
  | { readonly type: "data"; readonly bytes: Uint8Array }
  /** A binary message without payload. */
  | { readonly type: "empty" }
  | { readonly type: "ping" | "pong"; readonly payload: Uint8Array }
  /** Code 1005 when the frame had none. Nothing is read after it. */
  | { readonly type: "close"; readonly code: number; readonly reason: string }
  /** The code to close with. Nothing is read after it. */
  | { readonly type: "violation"; readonly code: 1002 | 1003; readonly reason: string };

/** Creates a parser for the frames of one connection. */
export function createFrameReader(): (chunk: Uint8Array) => FrameEvent[] {
  const header = new Uint8Array(10);
  let headerLength = 0;
  /** The opcode of the current frame; `undefined` between frames. */
  let opcode: number | undefined;
  let last = false;
  let missing = 0;
  let control = new Uint8Array(0);
  /** Bytes of the current binary message; `undefined` between messages. */
  let message: number | undefined;
  let over = false;

  return (chunk) => {
    const events: FrameEvent[] = [];
    let at = 0;
    while (!over && at < chunk.length) {
      if (opcode === undefined) {
        header[headerLength++] = chunk[at++] ?? 0;
        const problem = readHeader();
        if (problem !== undefined) {
          over = true;
          events.push(problem);
        }
        // An empty frame is complete with its header.
        if (opcode !== undefined && missing === 0) finishFrame(events);
        continue;
      }
      const piece = chunk.subarray(at, at + missing);
      at += piece.length;
      if (opcode >= OPCODE.close) control.set(piece, control.length - missing);
      else events.push({ type: "data", bytes: piece });
      missing -= piece.length;
      if (missing === 0) finishFrame(events);
    }
    return events;
  };

  /** Sets `opcode` once the header is complete. */
  function readHeader(): FrameEvent | undefined {
    const [first = 0, second = 0] = header;
    if (headerLength < 2) return undefined;
    if (headerLength === 2) {
      const problem = problemOf(first, second);
      if (problem !== undefined) return problem;
    }
    const short = second & 0x7f;
    const size = short === 126 ? 4 : short === 127 ? 10 : 2;
    if (headerLength < size) return undefined;
    const view = new DataView(header.buffer);
    const length =
      short === 126
        ? view.getUint16(2)
        : short === 127
          ? view.getUint32(2) * 2 ** 32 + view.getUint32(6)
          : short;
    if (length > Number.MAX_SAFE_INTEGER) return violation("a frame is too long");
    headerLength = 0;
    opcode = first & 0x0f;
    last = (first & 0x80) !== 0;
    missing = length;
    if (opcode >= OPCODE.close) control = new Uint8Array(length);
    else message = (message ?? 0) + length;
    return undefined;
  }

  function problemOf(first: number, second: number): FrameEvent | undefined {
    const code = first & 0x0f;
    const short = second & 0x7f;
    if ((first & 0x70) !== 0) return violation("a frame uses an extension");
    if ((second & 0x80) !== 0) return violation("a server's frame is masked");
    if (code >= OPCODE.close) {
      if (code > OPCODE.pong) return violation("unknown frame");
      if ((first & 0x80) === 0 || short > CONTROL_MAX) return violation("a control frame is too long");
      if (code === OPCODE.close && short === 1) return violation("a close without its code");
      return undefined;
    }
    if (code === OPCODE.text) return { type: "violation", code: 1003, reason: "send binary frames" };
    if (code > OPCODE.binary) return violation("unknown frame");
    if ((code === OPCODE.continuation) !== (message !== undefined))
      return violation("fragments out of order");
    return undefined;
  }

  function finishFrame(events: FrameEvent[]): void {
    const code = opcode;
    opcode = undefined;
    if (code === OPCODE.ping) events.push({ type: "ping", payload: control });
    else if (code === OPCODE.pong) events.push({ type: "pong", payload: control });
    else if (code === OPCODE.close) {
      over = true;
      events.push(closeOf(control));
    } else if (last) {
      if (message === 0) events.push({ type: "empty" });
      message = undefined;
    }
  }
}

const violation = (reason: string): FrameEvent => ({ type: "violation", code: 1002, reason });

function closeOf(payload: Uint8Array): FrameEvent {
  const [high, low] = payload;
  if (high === undefined || low === undefined) return { type: "close", code: 1005, reason: "" };
  return {
    type: "close",
    code: (high << 8) | low,
    reason: new TextDecoder().decode(payload.subarray(2)),
  };
}
