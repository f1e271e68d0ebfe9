// What a scan of a log reads: its last lines, and every line once, whatever is written, rotated or truncated meanwhile.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import {
  type FileCursor,
  type LogFile,
  type LogFiles,
  scanEnd,
  scanSince,
} from "../../src/tasks/scan/file-scan.ts";
import { type ReadAt, linesAtEnd, linesFrom } from "../../src/tasks/scan/lines.ts";

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const reading =
  (content: Uint8Array): ReadAt =>
  (offset, length) =>
    content.slice(offset, offset + length);

const line = fc.string({ maxLength: 200 }).map((text) => text.replaceAll(/[\n\r\0]/g, "x"));
const limits = fc.record({
  lines: fc.integer({ min: 1, max: 50 }),
  bytes: fc.integer({ min: 1_000, max: 5_000 }),
});

test("the last lines are those that a reader of the whole file would take", () => {
  fc.assert(
    fc.property(fc.array(line, { maxLength: 2_000 }), fc.boolean(), limits, (all, isEnded, limit) => {
      const content = bytesOf(all.join("\n") + (isEnded && all.length > 0 ? "\n" : ""));
      const expected = all.length === 1 && all[0] === "" && !isEnded ? [] : trimmed(all, isEnded);
      const { lines, truncated, bytesRead } = linesAtEnd(reading(content), content.length, limit, true);
      expect(lines).toEqual(expected.slice(expected.length - lines.length));
      expect(lines.length).toBeLessThanOrEqual(limit.lines);
      const isAll = lines.length === Math.min(limit.lines, expected.length);
      expect(truncated).toBe(!isAll);
      if (!isAll) {
        const next = expected.at(-lines.length - 1) ?? "";
        const size = lines.reduce((sum, text) => sum + Buffer.byteLength(text), Buffer.byteLength(next));
        expect(size).toBeGreaterThan(limit.bytes);
      }
      expect(bytesRead).toBeLessThanOrEqual(1_048_576);
    }),
    { numRuns: 200 },
  );
});

/** Without its newline, an empty last line is none. */
const trimmed = (all: readonly string[], isEnded: boolean): readonly string[] =>
  !isEnded && all.at(-1) === "" ? all.slice(0, -1) : all;

test("reads that go on where the last one stopped bring every line once, in order", () => {
  fc.assert(
    fc.property(fc.array(line, { minLength: 1, maxLength: 500 }), limits, (all, limit) => {
      const content = bytesOf(`${all.join("\n")}\n`);
      const got: string[] = [];
      for (let offset = 0, more = true; more;) {
        const read = linesFrom(reading(content), offset, content.length, limit, false);
        got.push(...read.lines);
        more = read.truncated;
        expect(read.next > offset || !more).toBe(true);
        offset = read.next;
      }
      expect(got).toEqual(all);
    }),
    { numRuns: 200 },
  );
});

test("a line above 64 KiB comes in pieces, a hole of zeros is left out and counted, and neither is read whole", () => {
  const long = bytesOf(`${"a".repeat(150_000)}\nend\n`);
  const wide = { lines: 10, bytes: 1_000_000 };
  const read = linesFrom(reading(long), 0, long.length, wide, false);
  expect(read.lines.map(({ length }) => length)).toEqual([65_536, 65_536, 18_928, 3]);
  const hole = new Uint8Array(400_000);
  hole.set(bytesOf("after\n"), hole.length - 6);
  expect(linesFrom(reading(hole), 0, hole.length, wide, false)).toMatchObject({
    lines: ["after"],
    truncated: false,
  });
  const endless = new Uint8Array(50_000_000);
  expect(linesAtEnd(reading(endless), endless.length, wide, true).bytesRead).toBeLessThanOrEqual(
    1_048_576 + 65_536,
  );
});

/** The files of a log in memory, with what a program and a rotation do to them. */
class Log {
  #inode = 1;
  #files = [{ identity: "1:1", content: "" }];
  readonly written: string[] = [];

  append(text: string, isWhole: boolean): void {
    const current = this.#files[0] ?? { content: "" };
    current.content += isWhole ? `${text}\n` : text;
    const last = this.written.pop() ?? "";
    this.written.push(last + text, ...(isWhole ? [""] : []));
  }

  /** A program that writes without a newline opens the new file for the rest, so that the line stands in two. */
  rotate(): void {
    if (!this.#files[0]?.content.endsWith("\n")) return;
    this.#files.unshift({ identity: `1:${++this.#inode}`, content: "" });
  }

  copyTruncate(): void {
    const [current] = this.#files;
    if (current === undefined || !current.content.endsWith("\n")) return;
    this.#files.splice(1, 0, { identity: `1:${++this.#inode}`, content: current.content });
    current.content = "";
  }

  files(): LogFiles {
    const opened = this.#files.map(({ identity, content }, index): LogFile => {
      const bytes = bytesOf(content);
      return { name: `log.${index}`, identity, size: bytes.length, quietFor: 0, read: reading(bytes) };
    });
    const [current, ...rotated] = opened;
    if (current === undefined) throw new Error("no log");
    return { current, rotated: () => rotated.toReversed() };
  }
}

type Act =
  | { readonly do: "append"; readonly text: string; readonly isWhole: boolean }
  | { readonly do: "rotate" | "copy" | "scan" };

let count = 0;
/** Lines are told apart by a number, as the time does in a real log. */
const act: fc.Arbitrary<Act> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("append" as const), text: line, isWhole: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("rotate" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("copy" as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("scan" as const) }) },
);

test("a monitor brings every line once, in order, through rotations and truncations of any number", () => {
  fc.assert(
    fc.property(fc.array(act, { maxLength: 120 }), limits, (acts, limit) => {
      const log = new Log();
      const got: string[] = [];
      let cursor: FileCursor | undefined;
      const scan = (): boolean => {
        const found =
          cursor === undefined ? scanEnd(log.files(), limit) : scanSince(log.files(), cursor, limit);
        got.push(...found.lines);
        ({ cursor } = found);
        return found.truncated;
      };
      // At the beginning of an empty file nothing tells it from another.
      log.append(`${count++}`, true);
      scan();
      for (const one of acts) {
        if (one.do === "append") log.append(`${count++} ${one.text}`, one.isWhole);
        else if (one.do === "rotate") log.rotate();
        else if (one.do === "copy") log.copyTruncate();
        else scan();
      }
      log.append("", true);
      while (scan());
      expect(got).toEqual(log.written.slice(0, -1));
    }),
    { numRuns: 500 },
  );
});
