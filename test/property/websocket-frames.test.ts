// The client's side of WebSocket framing: any cut of the stream reads the same, and what is written is what RFC 6455 says.
import { expect, setDefaultTimeout, test } from "bun:test";
import * as fc from "fast-check";
import {
  type FrameEvent,
  OPCODE,
  clientFrame,
  closeFrame,
  createFrameReader,
} from "../../src/peer/websocket-frames.ts";

setDefaultTimeout(150_000);

/** A frame as a server writes it, plainly. */
function serverFrame(opcode: number, payload: Uint8Array, fin = true): Buffer {
  const { length } = payload;
  const first = (fin ? 0x80 : 0) | opcode;
  if (length < 126) return Buffer.concat([Buffer.from([first, length]), payload]);
  if (length < 65_536) return Buffer.concat([Buffer.from([first, 126, length >> 8, length & 255]), payload]);
  const header = Buffer.from([first, 127, 0, 0, 0, 0, 0, 0, 0, 0]);
  header.writeUInt32BE(length, 6);
  return Buffer.concat([header, payload]);
}

/** What a server reads of one masked frame, byte by byte. */
function unmasked(frame: Uint8Array): { first: number; length: number; payload: Buffer } {
  const bytes = Buffer.from(frame);
  const short = (bytes[1] ?? 0) & 0x7f;
  expect((bytes[1] ?? 0) & 0x80).toBe(0x80);
  const at = short === 126 ? 4 : short === 127 ? 10 : 2;
  const length = short === 126 ? bytes.readUInt16BE(2) : short === 127 ? bytes.readUInt32BE(6) : short;
  const payload = Buffer.from(bytes.subarray(at + 4));
  for (let i = 0; i < payload.length; i++) payload[i] = (payload[i] ?? 0) ^ (bytes[at + (i % 4)] ?? 0);
  return { first: bytes[0] ?? 0, length, payload };
}

/** Pieces of data joined: where a stream is cut is not part of what it says. */
function contents(events: readonly FrameEvent[]): unknown[] {
  const all: unknown[] = [];
  let data: Uint8Array[] = [];
  const flush = (): void => {
    if (data.length > 0) all.push(["data", Buffer.concat(data).toString("hex")]);
    data = [];
  };
  for (const event of events) {
    if (event.type === "data") {
      data.push(event.bytes);
      continue;
    }
    flush();
    all.push("payload" in event ? [event.type, Buffer.from(event.payload).toString("hex")] : event);
  }
  flush();
  return all;
}

function readIn(stream: Uint8Array, cuts: readonly number[]): FrameEvent[] {
  const read = createFrameReader();
  const places = [...cuts.map((cut) => cut % (stream.length + 1)), stream.length].toSorted((a, b) => a - b);
  const events: FrameEvent[] = [];
  let from = 0;
  for (const to of places) {
    // A copy: what the reader keeps must not change with the caller's buffer.
    const chunk = Uint8Array.from(stream.subarray(from, to));
    const found = read(chunk).map((event) =>
      event.type === "data" ? { ...event, bytes: Uint8Array.from(event.bytes) } : event,
    );
    chunk.fill(0xee);
    events.push(...found);
    from = to;
  }
  return events;
}

const payloads = fc.oneof(
  fc.uint8Array({ maxLength: 130 }),
  fc.constantFrom(125, 126, 127, 65_535, 65_536, 70_001).map((length) => new Uint8Array(length).fill(length)),
);
const controls = fc.uint8Array({ maxLength: 125 });

/** One message in fragments, with control frames between them, as servers may send it. */
const messages = fc
  .tuple(fc.array(payloads, { minLength: 1, maxLength: 4 }), fc.array(controls, { maxLength: 2 }))
  .map(([parts, pings]) =>
    Buffer.concat(
      parts.flatMap((part, index) => [
        serverFrame(index === 0 ? OPCODE.binary : OPCODE.continuation, part, index === parts.length - 1),
        ...(index < parts.length - 1 || parts.length === 1 ? pings : []).map((ping) =>
          serverFrame(OPCODE.ping, ping),
        ),
      ]),
    ),
  );

test("any cut of the stream reads the same", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          messages,
          fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
        ),
        { maxLength: 5 },
      ),
      fc.array(fc.nat(), { maxLength: 12 }),
      (parts, cuts) => {
        const stream = Buffer.concat(parts);
        expect(contents(readIn(stream, cuts))).toEqual(contents(readIn(stream, [])));
      },
    ),
    { numRuns: 200 },
  );
});

test("a byte at a time reads the same", () => {
  fc.assert(
    fc.property(fc.array(messages, { maxLength: 2 }), (parts) => {
      const stream = Buffer.concat(parts).subarray(0, 3_000);
      const cuts = Array.from(stream, (_, index) => index);
      expect(contents(readIn(stream, cuts))).toEqual(contents(readIn(stream, [])));
    }),
    { numRuns: 100 },
  );
});

test("the payload of messages comes out whole and in order", () => {
  fc.assert(
    fc.property(fc.array(payloads, { maxLength: 6 }), fc.array(fc.nat(), { maxLength: 8 }), (parts, cuts) => {
      const stream = Buffer.concat(parts.map((part) => serverFrame(OPCODE.binary, part)));
      const events = readIn(stream, cuts);
      const data = events.flatMap((event) => (event.type === "data" ? [event.bytes] : []));
      expect(Buffer.concat(data).equals(Buffer.concat(parts))).toBeTrue();
      expect(events.filter(({ type }) => type === "empty")).toHaveLength(
        parts.filter(({ length }) => length === 0).length,
      );
    }),
    { numRuns: 200 },
  );
});

test("what is written reads back unmasked, under a new mask each time", () => {
  const masks = new Set<string>();
  fc.assert(
    fc.property(payloads, (payload) => {
      const frame = clientFrame(OPCODE.binary, payload);
      const { first, length, payload: back } = unmasked(frame);
      expect([first, length]).toEqual([0x82, payload.length]);
      expect(back.equals(payload)).toBeTrue();
      const short = (frame[1] ?? 0) & 0x7f;
      const at = short === 126 ? 4 : short === 127 ? 10 : 2;
      masks.add(Buffer.from(frame.subarray(at, at + 4)).toString("hex"));
    }),
    { numRuns: 1_000 },
  );
  // A coincidence of two among 1 000 of 2³² happens once in 8 600 runs; of more than a few never.
  expect(masks.size).toBeGreaterThan(990);
});

test("nothing makes the reader throw", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 64 })), (chunks) => {
      const read = createFrameReader();
      for (const chunk of chunks) read(chunk);
    }),
    { numRuns: 1_000 },
  );
});

test.each([
  ["an extension's bit", [0xc2, 0x00], 1002],
  ["a mask", [0x82, 0x80], 1002],
  ["a text frame", [0x81, 0x00], 1003],
  ["an unknown frame", [0x83, 0x00], 1002],
  ["a fragment of nothing", [0x80, 0x00], 1002],
  ["a message within a message", [0x02, 0x01, 0x00, 0x82, 0x00], 1002],
  ["a ping in fragments", [0x09, 0x00], 1002],
  ["a ping that is too long", [0x89, 0x7e, 0x00, 0x7e], 1002],
  ["a close of one byte", [0x88, 0x01, 0x03], 1002],
])("%s is a violation", (_, bytes, code) => {
  expect(createFrameReader()(Uint8Array.from(bytes)).at(-1)).toMatchObject({ type: "violation", code });
});

test("a close tells its code and reason, and nothing behind it is read", () => {
  const close = Buffer.concat([Buffer.from([0x03, 0xe9]), Buffer.from("agent stops")]);
  const stream = Buffer.concat([serverFrame(OPCODE.close, close), serverFrame(OPCODE.binary, close)]);
  expect(createFrameReader()(stream)).toEqual([{ type: "close", code: 1001, reason: "agent stops" }]);
  expect(createFrameReader()(serverFrame(OPCODE.close, new Uint8Array(0)))).toEqual([
    { type: "close", code: 1005, reason: "" },
  ]);
});

test("a close is written with its code and reason", () => {
  const { first, payload } = unmasked(closeFrame(1001, "the client ends"));
  expect([first, payload.readUInt16BE(0), payload.toString("utf8", 2)]).toEqual([
    0x88,
    1001,
    "the client ends",
  ]);
});
