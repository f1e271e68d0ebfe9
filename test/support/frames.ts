// Reads a websocket along, in the middle of its connection: the packets of Socket.IO on it, without taking part.

/** An event or an ack. */
export interface Packet {
  readonly from: "agent" | "server";
  /** The name of an event; undefined for an ack. */
  readonly event: string | undefined;
  /** What pairs an event with its ack. */
  readonly id: string;
  readonly body: Record<string, unknown>;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** Takes the bytes of one direction, from the first frame on, in whatever pieces they come. Compressed ones it cannot. */
export function frameReader(onText: (text: string) => void): (bytes: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  let parts: Buffer[] = [];
  return (bytes) => {
    rest = Buffer.concat([rest, bytes]);
    for (let frame = frameAt(rest); frame !== undefined; frame = frameAt(rest)) {
      rest = rest.subarray(frame.end);
      if (frame.opcode > 1) continue;
      parts.push(frame.payload);
      if (!frame.last) continue;
      onText(Buffer.concat(parts).toString());
      parts = [];
    }
  };
}

interface Frame {
  readonly opcode: number;
  readonly last: boolean;
  readonly payload: Buffer;
  readonly end: number;
}

/** Undefined until all of it is there. RFC 6455, 5.2. */
function frameAt(bytes: Buffer): Frame | undefined {
  const [first = 0, second = 0] = bytes;
  const short = second & 0x7f;
  const sized = short === 126 ? 4 : short === 127 ? 10 : 2;
  const masked = second > 0x7f;
  const head = masked ? sized + 4 : sized;
  if (bytes.length < head) return undefined;
  const size = short === 126 ? bytes.readUInt16BE(2) : short === 127 ? bytes.readUInt32BE(6) : short;
  const end = head + size;
  if (bytes.length < end) return undefined;
  const payload = Buffer.from(bytes.subarray(head, end));
  if (masked) for (let i = 0; i < size; i++) payload[i] = (payload[i] ?? 0) ^ (bytes[sized + (i % 4)] ?? 0);
  return { opcode: first & 0x0f, last: first > 0x7f, payload, end };
}

/** `42/agent-realtime,7["agent.ping",{…}]` is an event, `43/agent-realtime,7[{…}]` its ack; undefined is neither. */
export function readPacket(from: Packet["from"], text: string): Packet | undefined {
  const [, kind, id = "", json = ""] = /^4([23])(?:\/[^,]*,)?(\d*)(\[.*\])$/s.exec(text) ?? [];
  if (kind === undefined) return undefined;
  const content = JSON.parse(json) as unknown[];
  const event = kind === "2" ? String(content.shift()) : undefined;
  return { from, event, id, body: (content[0] ?? {}) as Record<string, unknown>, at: Date.now() };
}
