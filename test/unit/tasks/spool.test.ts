// What a task wrote is taken in line by line, in the order it was seen, and once: over crashes as well.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { appendFileSync, existsSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { minutes, seconds } from "../../../src/lib/duration.ts";
import type { Stream } from "../../../src/tasks/output/rows.ts";
import { type Spool, openSpool } from "../../../src/tasks/run/spool.ts";
import { scratchDirectory } from "./scratch.ts";
import { cpuTime } from "../../support/cpu-time.ts";

const NOW = 1_000_000;
let directory: ReturnType<typeof scratchDirectory>;
let opened: Spool[];

beforeEach(() => {
  directory = scratchDirectory();
  opened = [];
});
afterEach(() => {
  for (const spool of opened) spool.close();
  directory[Symbol.dispose]();
});

function open(mode?: "follow" | "read-only"): Spool {
  const spool = openSpool(directory.path, mode);
  opened.push(spool);
  return spool;
}
const at = (name: string): string => join(directory.path, name);
const write = (stream: Stream, content: string | Uint8Array): void =>
  appendFileSync(at(`${stream}.log`), content);
const textOf = (reader: ReturnType<Spool["reader"]>): string =>
  Buffer.from(reader.read(0, reader.length)).toString();

test("a task that has written nothing yet has nothing pending", () => {
  const spool = open();
  expect(spool.observe(true, NOW)).toBe(false);
  expect(spool.pending({ stdout: 0, stderr: 0 })).toEqual({
    bytes: { stdout: 0, stderr: 0 },
    oldest: undefined,
    run: 0,
    runs: 0,
  });
  expect(textOf(spool.reader())).toBe("");
});

test("both streams are read in the order they were seen to grow", () => {
  const spool = open();
  for (const [stream, text] of [
    ["stdout", "1\n"],
    ["stderr", "2\n"],
    ["stderr", "3\n"],
    ["stdout", "4\n"],
  ] as const) {
    write(stream, text);
    expect(spool.observe(false, NOW)).toBe(true);
  }
  expect(textOf(spool.reader())).toBe("1\n2\n3\n4\n");
  expect(textOf(spool.readerOf("stderr"))).toBe("2\n3\n");
});

test("any range of the two streams is the same range of the whole", () => {
  const spool = open();
  for (const [k, stream] of (["stdout", "stderr", "stderr", "stdout", "stderr"] as const).entries()) {
    write(stream, `${"abcde"[k]}`.repeat(k + 2));
    spool.observe(true, NOW);
  }
  const reader = spool.reader();
  const whole = textOf(reader);
  for (let from = 0; from <= whole.length; from++)
    for (let to = from; to <= whole.length; to++)
      expect(Buffer.from(reader.read(from, to)).toString()).toBe(whole.slice(from, to));
});

test("a line that has not ended is kept back, and taken after a second without growth", () => {
  const spool = open();
  write("stdout", "done\nName? ");
  spool.observe(false, NOW);
  expect(textOf(spool.reader())).toBe("done\n");
  spool.observe(false, NOW + 1);
  spool.observe(false, NOW + seconds(1));
  expect(textOf(spool.reader())).toBe("done\n");
  spool.observe(false, NOW + 1 + seconds(1));
  expect(textOf(spool.reader())).toBe("done\nName? ");
});

test("a line that still grows is not taken, until it is 4 kB long", () => {
  const spool = open();
  for (let k = 0; k < 40; k++) {
    write("stdout", "x".repeat(100));
    spool.observe(false, NOW + k * seconds(0.9));
  }
  expect(spool.reader().length).toBe(0);
  write("stdout", "x".repeat(97));
  spool.observe(false, NOW + seconds(60));
  expect(spool.reader().length).toBe(4_097);
});

test("a character that arrives in two parts is taken when it is whole", () => {
  const spool = open();
  const euro = Buffer.from("€");
  write("stdout", Buffer.concat([Buffer.from("12 "), euro.subarray(0, 2)]));
  spool.observe(false, NOW);
  spool.observe(false, NOW + seconds(2));
  expect(textOf(spool.reader())).toBe("12 ");
  write("stdout", euro.subarray(2));
  spool.observe(false, NOW + seconds(3));
  spool.observe(false, NOW + seconds(5));
  expect(textOf(spool.reader())).toBe("12 €");
});

test("at the end everything is taken, also half a character", () => {
  const spool = open();
  write("stderr", Buffer.from([0x61, 0xe2, 0x82]));
  spool.observe(true, NOW);
  expect(spool.reader().length).toBe(3);
});

test("the stream with the oldest unshipped part is named, also when a shipped part grows on", () => {
  const spool = open();
  const oldest = (stdout: number, stderr: number): Stream | undefined =>
    spool.pending({ stdout, stderr }).oldest;
  write("stdout", "1\n");
  spool.observe(false, NOW);
  expect(oldest(0, 0)).toBe("stdout");
  expect(oldest(2, 0)).toBeUndefined();
  write("stdout", "2\n");
  spool.observe(false, NOW);
  write("stderr", "3\n");
  spool.observe(false, NOW);
  write("stdout", "4\n");
  spool.observe(false, NOW);
  expect([oldest(2, 0), oldest(4, 0), oldest(4, 2), oldest(6, 2)]).toEqual([
    "stdout",
    "stderr",
    "stdout",
    undefined,
  ]);
});

test("line feeds are counted between any two offsets, also of a large file", () => {
  const spool = open();
  write("stdout", "a\n".repeat(100_000));
  spool.observe(true, NOW);
  expect(spool.countLines("stdout", 0, 200_000)).toBe(100_000);
  expect(spool.countLines("stdout", 1, 4)).toBe(2);
});

test("reopened, the order is as it was", () => {
  const before = open();
  for (const [stream, text] of [
    ["stderr", "1\n"],
    ["stdout", "2\n"],
    ["stderr", "3\n"],
  ] as const) {
    write(stream, text);
    before.observe(false, NOW);
  }
  expect(textOf(open().reader())).toBe("1\n2\n3\n");
});

test("torn at any byte, the order still yields every byte of both streams once", () => {
  const writer = open();
  for (let k = 0; k < 12; k++) {
    write(k % 3 === 0 ? "stderr" : "stdout", `${k % 3 === 0 ? "e" : "o"}${k}\n`);
    writer.observe(false, NOW);
  }
  const order = readFileSync(at("order"));
  for (let length = 0; length <= order.length; length++) {
    writeFileSync(at("order"), order.subarray(0, length));
    const first = openSpool(directory.path);
    first.observe(true, NOW);
    const lines = textOf(first.reader()).trim().split("\n");
    first.close();
    // And once more after a second crash, with what the first restart has added behind the torn line.
    const second = openSpool(directory.path);
    second.observe(true, NOW);
    const again = textOf(second.reader()).trim().split("\n");
    second.close();
    for (const seen of [lines, again]) {
      expect(seen.filter((line) => line.startsWith("o"))).toEqual([
        "o1",
        "o2",
        "o4",
        "o5",
        "o7",
        "o8",
        "o10",
        "o11",
      ]);
      expect(seen.filter((line) => line.startsWith("e"))).toEqual(["e0", "e3", "e6", "e9"]);
      expect(seen).toHaveLength(12);
    }
  }
});

test("what a loss of power took from a stream is not waited for", () => {
  write("stdout", "kept\nlost\n");
  open().observe(true, NOW);
  truncateSync(at("stdout.log"), 5);
  const spool = open();
  spool.observe(true, NOW);
  expect(textOf(spool.reader())).toBe("kept\n");
  expect(spool.pending({ stdout: 5, stderr: 0 }).oldest).toBeUndefined();
  expect(spool.pending({ stdout: 10, stderr: 0 }).bytes.stdout).toBe(0);
});

test("a reader beside the agent changes nothing on disk", () => {
  write("stdout", "1\n");
  const reader = open("read-only");
  expect(reader.observe(true, NOW)).toBe(true);
  expect(textOf(reader.reader())).toBe("1\n");
  expect(existsSync(at("order"))).toBe(false);
});

test("a spool that is followed for long asks nothing twice", () => {
  const spool = open();
  const shipped = { stdout: 0, stderr: 0 };
  const used = cpuTime();
  for (let k = 0; k < 3_000; k++) {
    const stream = k % 2 === 0 ? "stdout" : "stderr";
    write(stream, "x\n");
    spool.observe(false, NOW + k * minutes(1));
    expect(spool.pending(shipped).oldest).toBe(stream);
    shipped[stream] += 2;
  }
  expect(used()).toBeLessThan(2_000);
});

test("the number of discarded bytes is known once the output copiers have stored it", () => {
  const spool = open();
  expect(spool.discarded()).toEqual({ stdout: 0, stderr: 0 });
  writeFileSync(at("stderr.discarded"), "   1234\n");
  expect(spool.discarded()).toEqual({ stdout: 0, stderr: 1_234 });
});
