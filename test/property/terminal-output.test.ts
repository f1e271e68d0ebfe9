// Whatever a shell writes, however it is cut: every byte is sent once, in frames that can be decoded one by one.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { OUTPUT_FRAME_MAX } from "../../src/protocol/noderax/terminal.ts";
import {
  type TerminalOutputQueue,
  createTerminalOutputQueue,
  shouldPause,
} from "../../src/terminal/output-queue.ts";

const text = fc.string({ unit: "binary" }).map((characters) => Buffer.from(characters));
const noise = fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes));
/** Long enough that frames are cut: one character again and again, behind something that shifts it. */
const long = fc
  .tuple(fc.constantFrom("é", "€", "😀", "a", "\n"), fc.nat(3), fc.integer({ min: 1, max: 60_000 }))
  .map(([character, shift, count]) => Buffer.from("x".repeat(shift) + character.repeat(count)));

/** Pushes the pieces; between them, as often as the list says, takes a frame. */
function carry(
  pieces: readonly Uint8Array[],
  takes: readonly number[],
  queue: TerminalOutputQueue,
): Buffer[] {
  const frames: Buffer[] = [];
  const take = (flush: boolean): boolean => {
    const frame = queue.take(flush);
    if (frame !== undefined) frames.push(Buffer.from(frame));
    return frame !== undefined;
  };
  for (const [k, piece] of pieces.entries()) {
    queue.push(piece);
    for (let n = takes[k % Math.max(1, takes.length)] ?? 0; n > 0; n--) take(false);
  }
  while (take(true));
  return frames;
}

/** Cuts the whole at arbitrary places. */
const cut = (whole: Buffer, cuts: readonly number[]): Buffer[] => {
  const at = [0, ...cuts.map((place) => place % (whole.length + 1)).sort((a, b) => a - b), whole.length];
  return at.slice(1).map((end, k) => whole.subarray(at[k], end));
};

const plenty = (): number => 100_000_000;
const decode = (bytes: Uint8Array): string => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);

test("frames put together are the input, none is too long or empty", () => {
  const whole = fc.array(fc.oneof(text, noise, long), { maxLength: 4 }).map((parts) => Buffer.concat(parts));
  fc.assert(
    fc.property(whole, fc.array(fc.nat(300_000)), fc.array(fc.nat(3)), (bytes, cuts, takes) => {
      const frames = carry(cut(bytes, cuts), takes, createTerminalOutputQueue(plenty));
      expect(Buffer.concat(frames).equals(bytes)).toBe(true);
      for (const frame of frames) expect(frame.length).toBeWithin(1, OUTPUT_FRAME_MAX + 1);
    }),
    { numRuns: 150 },
  );
});

test("of valid text, each frame decodes by itself to its part of the text", () => {
  const whole = fc.array(fc.oneof(text, long), { maxLength: 4 }).map((parts) => Buffer.concat(parts));
  fc.assert(
    fc.property(whole, fc.array(fc.nat(300_000)), fc.array(fc.nat(3)), (bytes, cuts, takes) => {
      const frames = carry(cut(bytes, cuts), takes, createTerminalOutputQueue(plenty));
      expect(frames.map(decode).join("") === decode(bytes)).toBe(true);
    }),
    { numRuns: 150 },
  );
});

test("beyond its limit it keeps the newest, says how much it skipped, and breaks no character", () => {
  const limit = 1_000;
  // CAN and ESC stand first.
  const notice = /\W{2}\[0m\r\n\[… ([\d.]+) (bytes|kB|MB) of output skipped …\]\r\n/gu;
  const whole = fc
    .array(fc.constantFrom("é", "€", "😀", "a", "\n", "bc\n"), { minLength: 1, maxLength: 900 })
    .map((parts) => Buffer.from(parts.join("")));
  fc.assert(
    fc.property(whole, fc.array(fc.nat(4_000)), fc.array(fc.nat(1)), (bytes, cuts, takes) => {
      const queue = createTerminalOutputQueue(() => limit);
      const frames = carry(cut(bytes, cuts), takes, queue).map(decode).join("");
      expect(frames).not.toContain("\uFFFD");
      const skipped = [...frames.matchAll(notice)];
      const kept = Buffer.from(frames.replaceAll(notice, ""));
      if (skipped.length === 0) expect(kept.equals(bytes)).toBe(true);
      const last = frames.split(notice).at(-1) ?? "";
      expect(decode(bytes).endsWith(last)).toBe(true);
      if (skipped.every(([, , unit]) => unit === "bytes")) {
        const missing = skipped.reduce((sum, [, count]) => sum + Number(count), 0);
        expect(missing + kept.length).toBe(bytes.length);
      }
    }),
    { numRuns: 1_000 },
  );
});

test("what waits is never more than the limit", () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(5_000), { maxLength: 50 }),
      fc.integer({ min: 2, max: 5_000 }),
      (sizes, limit) => {
        const queue = createTerminalOutputQueue(() => limit);
        for (const size of sizes) {
          queue.push(new Uint8Array(size).fill(0x61));
          expect(queue.size()).toBeLessThanOrEqual(limit);
        }
      },
    ),
  );
});

test("half a character waits for its other half, and leaves at the end all the same", () => {
  const queue = createTerminalOutputQueue(plenty);
  const euro = Buffer.from("€");
  queue.push(euro.subarray(0, 2));
  expect(queue.take(false)).toBeUndefined();
  queue.push(euro.subarray(2));
  expect(decode(queue.take(false) ?? new Uint8Array())).toBe("€");
  queue.push(euro.subarray(0, 1));
  expect([...(queue.take(true) ?? [])]).toEqual([0xe2]);
  expect(queue.take(true)).toBeUndefined();
});

test("once paused, it stays so until one frame or less waits", () => {
  expect(shouldPause(false, 2 * OUTPUT_FRAME_MAX - 1)).toBe(false);
  expect(shouldPause(false, 2 * OUTPUT_FRAME_MAX)).toBe(true);
  expect(shouldPause(true, OUTPUT_FRAME_MAX + 1)).toBe(true);
  expect(shouldPause(true, OUTPUT_FRAME_MAX)).toBe(false);
});
