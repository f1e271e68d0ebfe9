// Log rows over random outputs: what an operator sees in the first 100 rows is true, whole where it fits, and ends with the end.
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { createServerClock } from "../../src/control/server-clock.ts";
import { type Duration, milliseconds, minutes, seconds } from "../../src/lib/duration.ts";
import { decodeText } from "../../src/lib/utf8.ts";
import type { LogRequest } from "../../src/protocol/noderax/tasks.ts";
import { STREAMS, type Stream, decideRow, nothingShipped } from "../../src/tasks/output/rows.ts";
import { createShipper } from "../../src/tasks/output/shipping.ts";
import type { Spool } from "../../src/tasks/run/spool.ts";
import { TASK, openStore, startedTask } from "../unit/tasks/scratch.ts";

/** A part of the output, and how long after the part before it comes. */
interface Burst {
  readonly after: Duration;
  readonly stream: Stream;
  readonly bytes: Uint8Array;
}

interface SentRow {
  readonly row: LogRequest;
  readonly at: number;
  readonly ended: boolean;
  readonly from: Readonly<Record<Stream, number>>;
  readonly to: Readonly<Record<Stream, number>>;
}

/** By index, which is twenty times faster than an iterator: these are a hundred megabytes. */
function linesIn(bytes: Uint8Array): number {
  let lines = 0;
  for (let at = 0; at < bytes.length; at++) if (bytes[at] === 0x0a) lines++;
  return lines;
}

/** A spool whose output is in memory. */
function spoolInMemory() {
  const content: Record<Stream, Uint8Array[]> = { stdout: [], stderr: [] };
  const size: Record<Stream, number> = { stdout: 0, stderr: 0 };
  const joined: Record<Stream, Uint8Array | undefined> = { stdout: undefined, stderr: undefined };
  const pieces: { stream: Stream; to: number }[] = [];
  const all = (stream: Stream): Uint8Array => (joined[stream] ??= Buffer.concat(content[stream]));
  const refuse = (): never => {
    throw new Error("log rows do not need this");
  };
  const spool: Spool = {
    observe: refuse,
    reader: refuse,
    readerOf: refuse,
    discarded: refuse,
    close() {},
    pending(shipped) {
      // Nothing is pending again once it was shipped.
      while ((pieces[0]?.to ?? Infinity) <= shipped[pieces[0]?.stream ?? "stdout"]) pieces.shift();
      const waiting = pieces.filter(({ stream, to }) => to > shipped[stream]);
      const runs = waiting.filter(({ stream }, k) => stream !== waiting[k - 1]?.stream);
      const second = waiting.findIndex(({ stream }) => stream !== waiting[0]?.stream);
      const end = waiting[second < 0 ? waiting.length - 1 : second - 1];
      return {
        bytes: { stdout: size.stdout - shipped.stdout, stderr: size.stderr - shipped.stderr },
        oldest: waiting[0]?.stream,
        run: end === undefined ? 0 : end.to - shipped[end.stream],
        runs: runs.length,
      };
    },
    read: (stream, from, max) => all(stream).subarray(from, from + max),
    countLines: (stream, from, to) =>
      all(stream)
        .subarray(from, to)
        .filter((byte) => byte === 0x0a).length,
  };
  return {
    spool,
    all,
    write: (stream: Stream, bytes: Uint8Array): void => {
      content[stream].push(bytes);
      joined[stream] = undefined;
      size[stream] += bytes.length;
      pieces.push({ stream, to: size[stream] });
    },
  };
}

const START = 1_700_000_000_000;

/** Ships a whole run, looking every quarter of a second as the agent does; every row is delivered at once. */
function ship(bursts: readonly Burst[]) {
  using store = openStore();
  const { database, journal, outbox } = store;
  const { spool, all, write } = spoolInMemory();
  const shipper = createShipper(startedTask(journal, TASK, START), {
    journal,
    outbox,
    serverClock: createServerClock(),
  });
  shipper.follow(spool, START);
  const sent: SentRow[] = [];
  const takeRow = database.query<{ body: string }, []>("DELETE FROM outbox RETURNING body");
  let from: SentRow["from"] = nothingShipped.offset;

  function look(ended: boolean, now: number): boolean {
    const done = shipper.ship(ended, now);
    const entries = takeRow.all();
    const to = journal.find(TASK)?.shipped.offset ?? from;
    if (entries.length > 1) throw new Error("two rows at once");
    for (const { body } of entries)
      sent.push({ row: JSON.parse(body) as LogRequest, at: now - START, ended, from, to });
    from = to;
    return done;
  }

  let now = START;
  for (const { after, stream, bytes } of bursts) {
    for (const due = now + after; now < due; now = Math.min(due, now + milliseconds(250))) look(false, now);
    if (bytes.length === 0) continue;
    write(stream, bytes);
    look(false, now);
  }
  for (let looks = 0; !look(true, now); looks++) if (looks > 200) throw new Error("the rows have no end");
  return { sent, output: { stdout: all("stdout"), stderr: all("stderr") } };
}

const grown = ({ from, to }: SentRow, stream: Stream): number => to[stream] - from[stream];

/** The promises that hold for every output whatsoever. */
function check({ sent, output }: ReturnType<typeof ship>): void {
  expect(sent.length).toBeLessThanOrEqual(100);
  for (const stream of STREAMS) {
    const ranges = sent.filter((one) => grown(one, stream) > 0);
    // Every byte is in exactly one row or gap, in order, to the end.
    expect(ranges.at(-1)?.to[stream] ?? 0).toBe(output[stream].length);
    for (const { row, from, to } of ranges) {
      const bytes = output[stream].subarray(from[stream], to[stream]);
      if (row.stream === "system") {
        const lines = linesIn(bytes);
        const gap = /^… (?:part of a line|([\d ]+) lines?) \(.*\) of (stdout|stderr) not shown/.exec(
          row.line,
        );
        expect([gap?.[1]?.replaceAll(" ", "") ?? "0", gap?.[2]]).toEqual([String(lines), stream]);
      } else {
        expect(row.stream).toBe(stream);
        expect([row.line, `${row.line}\n`]).toContain(decodeText(bytes));
      }
    }
    // The end of the output is shown, not left out.
    expect(ranges.at(-1)?.row.stream ?? stream).toBe(stream);
  }
  for (const [k, { row, at, ended }] of sent.entries()) {
    const length = Array.from(row.line).length;
    expect(length).toBeGreaterThanOrEqual(1);
    expect(length).toBeLessThanOrEqual(5_000);
    expect(row.line.isWellFormed() && !row.line.includes("\0")).toBe(true);
    const before = sent[k - 1];
    if (before === undefined) continue;
    if (length > 1) expect(row.line).not.toBe(before.row.line);
    // Sixteen at once, then one a second: a server that is sent rows without pause loses an operator's cancel.
    if (!ended) expect(k).toBeLessThanOrEqual(16 + Math.floor(at / seconds(1)));
  }
}

const gaps = ({ sent }: ReturnType<typeof ship>): number =>
  sent.filter(({ row }) => row.stream === "system").length;
const sizeOf = ({ output }: ReturnType<typeof ship>): number => output.stdout.length + output.stderr.length;

const stream = fc.constantFrom<Stream>("stdout", "stderr");
const unit = fc.oneof(
  fc.string({ unit: "binary", minLength: 1, maxLength: 200 }),
  fc.string({ minLength: 1, maxLength: 100 }).map((line) => `${line}\n`),
  fc.constantFrom("\n", "a", "é", "😀", "€\n", "\0", "\x1b[1m=\r", "y\n", "0123456789\n"),
);
/** Text or noise, repeated to some size. */
const bytesUpTo = (max: number) =>
  fc
    .tuple(
      fc.oneof(
        unit.map((text) => Buffer.from(text)),
        fc.uint8Array({ minLength: 1, maxLength: 64 }),
      ),
      fc.oneof(fc.nat(20), fc.nat(max)),
    )
    .map(([pattern, size]) => new Uint8Array(Buffer.alloc(size, pattern)));
const burstsUpTo = (max: number, pause: Duration, count = 30) =>
  fc.array(fc.record({ after: fc.nat(pause), stream, bytes: bytesUpTo(max) }), { maxLength: count });

test("any output in any rhythm: rows and stated gaps are the output, within 100 rows, few at once, none refused", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        burstsUpTo(100, seconds(3)),
        burstsUpTo(20_000, seconds(20)),
        burstsUpTo(600_000, minutes(2), 10),
        burstsUpTo(300, seconds(2), 150),
      ),
      (bursts) => check(ship(bursts)),
    ),
    { numRuns: 70 },
  );
});

test("rows that would all be the same text are as full as others, and the end of the output is shown", () => {
  // 370 kB of one pattern, cut the same way again and again: just what all rows together hold.
  const bytes = new Uint8Array(Buffer.alloc(370_000, Buffer.from([63, 221, 228, 238, 101])));
  const run = ship([{ after: 0, stream: "stderr", bytes }]);
  check(run);
  expect(gaps(run)).toBe(0);
});

test("an output of 50 kB is complete, however slowly it comes", () => {
  const bursts = fc.oneof(
    fc.array(fc.record({ after: fc.nat(seconds(2)), stream, bytes: bytesUpTo(1_600) }), { maxLength: 31 }),
    fc.array(fc.record({ after: fc.nat(seconds(15)), stream, bytes: bytesUpTo(250) }), { maxLength: 200 }),
  );
  fc.assert(
    fc.property(bursts, (parts) => {
      const run = ship(parts);
      expect(sizeOf(run)).toBeLessThanOrEqual(50_000);
      check(run);
      expect(gaps(run)).toBe(0);
    }),
    { numRuns: 100 },
  );
});

const shortLine = fc.record({
  after: fc.nat(milliseconds(40)),
  stream,
  bytes: fc
    .string({ unit: fc.constantFrom("a", "b", " ", "ü"), minLength: 1, maxLength: 60 })
    .map((text) => new Uint8Array(Buffer.from(`${text}\n`))),
});

test("a short task of up to sixty lines: one line is one row, and both streams keep their order", () => {
  fc.assert(
    fc.property(fc.array(shortLine, { maxLength: 60 }), (bursts) => {
      const { sent } = ship(bursts);
      expect(sent.map(({ row }) => [row.stream, row.line.replace(/\n$/, "")])).toEqual(
        bursts.map((burst) => [burst.stream, decodeText(burst.bytes).slice(0, -1)]),
      );
    }),
    { numRuns: 60 },
  );
});

test("lines that come too fast for a row each still show both streams in the order they were seen in, at the end", () => {
  // Two hundred lines, in runs of five of a stream, all pending when the command ends.
  const bursts = Array.from({ length: 200 }, (_, n) => ({
    after: 0,
    stream: STREAMS[Math.floor(n / 5) % 2] ?? "stdout",
    bytes: new Uint8Array(Buffer.from(`line ${n}\n`)),
  }));
  const { sent } = ship([{ after: seconds(5), stream: "stdout", bytes: new Uint8Array() }, ...bursts]);
  const told = sent.flatMap(({ row }) => row.line.split("\n")).filter((line) => line !== "");
  expect(told).toEqual(bursts.map((_, n) => `line ${n}`));
});

test("the first output leaves the moment it is there", () => {
  fc.assert(
    fc.property(
      fc.nat(minutes(5)),
      bytesUpTo(5_000).filter(({ length }) => length > 0),
      (after, bytes) => {
        expect(ship([{ after, stream: "stdout", bytes }]).sent[0]?.at).toBe(after);
      },
    ),
    { numRuns: 20 },
  );
});

test.each([
  ["100 MB of lines", 100, "all work and no play\n"],
  ["10 MB of one line without an end", 10, "a"],
  ["10 MB of lines that are all the same", 10, "y\n"],
  ["10 MB of lines longer than a row", 10, `${"x".repeat(7_000)}\n`],
  ["10 MB of characters of four bytes", 10, "😀"],
  ["10 MB of bytes that are no text", 10, "\x00\x01"],
  ["10 MB of empty lines", 10, "\n"],
])(
  "%s on both streams: within 100 rows, beginning and end shown, the gap stated",
  (_, megabytes, pattern) => {
    const share = (part: number): Uint8Array =>
      new Uint8Array(Buffer.alloc(megabytes * part * 1_000_000, pattern));
    const run = ship([
      { after: 0, stream: "stdout", bytes: share(0.3) },
      { after: seconds(5), stream: "stderr", bytes: share(0.4) },
      { after: minutes(3), stream: "stdout", bytes: share(0.3) },
    ]);
    check(run);
    expect(gaps(run)).toBeGreaterThan(0);
    expect(run.sent.slice(0, 10).every(({ row }) => row.stream !== "system")).toBe(true);
  },
);

test("a stream of lines for 30 minutes is followed to the end: never more than three minutes between rows", () => {
  const line = new Uint8Array(Buffer.from("tick tock\n"));
  const bursts = Array.from({ length: 7_200 }, () => ({
    after: milliseconds(250),
    stream: "stdout" as const,
    bytes: line,
  }));
  const run = ship(bursts);
  check(run);
  const times = run.sent.map(({ at }) => at);
  for (const [k, at] of times.entries()) expect(at - (times[k - 1] ?? 0)).toBeLessThan(minutes(3));
});

test("output is only left out when what is pending does not fit into the rows that are left", () => {
  const count = fc.oneof(fc.nat(10_000), fc.nat(500_000), fc.nat(100_000_000));
  fc.assert(
    fc.property(count, count, fc.nat(100), fc.boolean(), stream, (stdout, stderr, rows, ended, oldest) => {
      const shipped = { ...nothingShipped, rows };
      const pending = { bytes: { stdout, stderr }, oldest, run: 1, runs: 100, lines: Infinity };
      const decision = decideRow(shipped, pending, 0, ended, minutes(60));
      const rowsFor = Math.ceil(stdout / 4_000) + Math.ceil(stderr / 4_000);
      if (decision.do === "skip") {
        expect(rowsFor).toBeGreaterThan(96 - rows);
        expect(decision.bytes).toBeGreaterThan(0);
        expect(decision.bytes).toBeLessThanOrEqual({ stdout, stderr }[decision.stream]);
      }
      // The first ten rows show the beginning, whatever comes later.
      if (decision.do === "row" && rows >= 10) expect(rowsFor).toBeLessThanOrEqual(96 - rows);
    }),
    { numRuns: 2_000 },
  );
});
