// How long a preview of a log takes, and how much of the log it reads, where the log is huge.
import { appendFileSync, chmodSync, mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ScanResult, scanLog } from "../../src/tasks/scan/scan.ts";
import { temporaryDirectory } from "../support/binary.ts";
import type { Bench } from "./bench.ts";
import { once } from "./process-figures.ts";

const LINES = 500;
const REPETITIONS = 30;

/** The last 500 lines of a file of 10 GiB, of which all but the end is a hole. */
const previews = once(async () => {
  using directory = temporaryDirectory();
  chmodSync(directory.path, 0o755);
  mkdirSync(join(directory.path, "var/log"), { recursive: true });
  const log = join(directory.path, "var/log/syslog");
  writeFileSync(log, "");
  truncateSync(log, 10 * 2 ** 30);
  const line = (n: number): string => `Nov 26 12:00:00 web-01 program[${n}]: ${"what happened ".repeat(7)}\n`;
  appendFileSync(log, `\n${Array.from({ length: 20_000 }, (_, n) => line(n)).join("")}`);
  const times: number[] = [];
  const read: number[] = [];
  for (let repetition = 0; repetition < REPETITIONS; repetition++) {
    const begun = performance.now();
    const { entries, bytesRead }: ScanResult = await scanLog(
      {
        preset: "syslog",
        mode: "preview",
        limits: { lines: LINES, bytes: 256 * 1_024 },
        backfill: LINES,
        cursor: undefined,
      },
      { reader: undefined, now: () => new Date(), root: directory.path, journalctl: () => undefined },
      new AbortController().signal,
    );
    times.push(performance.now() - begun);
    read.push(bytesRead / 2 ** 20);
    if (entries.length !== LINES) throw new Error(`${entries.length} lines instead of ${LINES}`);
  }
  return { times, read };
});

export default [
  {
    name: `preview of ${LINES} lines of a log of 10 GiB`,
    unit: "ms",
    limit: 100,
    run: async () => (await previews()).times,
  },
  { name: "read of the log for it", unit: "MiB", limit: 1, run: async () => (await previews()).read },
] satisfies Bench[];
