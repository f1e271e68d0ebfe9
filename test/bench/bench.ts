// The bench: runs every test/bench/*.bench.ts, prints a table, writes JSON (`--json FILE`). Slow is not an error.
import { mkdirSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import manifest from "../../package.json";

/** What a bench file exports as `default`, one or an array of them. */
export interface Bench {
  readonly name: string;
  /** The unit of the samples: "ms", "MB", "lines/s". */
  readonly unit: string;
  /** What the median is held to: at most, unless `better` says that more is better. Without one it is information. */
  readonly limit?: number;
  readonly better?: "less" | "more";
  /** It runs only where its file is named. */
  readonly long?: boolean;
  /** Resolves with one number a repetition. */
  run(options: BenchOptions): Promise<number[]>;
}

export interface BenchOptions {
  /** How long a soak takes: `--minutes N`. */
  readonly minutes: number;
}

interface Result {
  readonly name: string;
  readonly unit: string;
  readonly limit?: number;
  readonly ok?: boolean;
  readonly median?: number;
  readonly p10?: number;
  readonly p90?: number;
  readonly samples?: readonly number[];
  readonly error?: string;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    args: Bun.argv.slice(2),
    options: {
      json: { type: "string", default: join(import.meta.dir, "../../dist/bench.json") },
      minutes: { type: "string", default: "30" },
    },
    allowPositionals: true,
  });
  const results: Result[] = [];
  // Only files whose name holds one of the words, when words are given.
  const wanted = (file: string): boolean =>
    positionals.length === 0 || positionals.some((word) => file.includes(word));
  for (const file of [...new Bun.Glob("*.bench.ts").scanSync(import.meta.dir)]
    .filter(wanted)
    .toSorted(byName)) {
    for (const bench of await load(file)) {
      if (bench.long === true && positionals.length === 0) continue;
      process.stderr.write(`${file}: ${bench.name} …\n`);
      results.push(await measure(bench, { minutes: Number(values.minutes) }));
    }
  }
  process.stdout.write(table(results));

  const file = resolve(values.json);
  mkdirSync(dirname(file), { recursive: true });
  await Bun.write(file, `${JSON.stringify({ ...machine(), results }, null, 2)}\n`);
  if (results.length === 0) process.stderr.write("bench: no bench ran\n");
  process.exitCode = results.length === 0 || results.some(({ error }) => error !== undefined) ? 1 : 0;
}

const byName = (a: string, b: string): number => (a < b ? -1 : 1);

async function load(file: string): Promise<readonly Bench[]> {
  try {
    const module = (await import(`./${file}`)) as { default: Bench | readonly Bench[] };
    return [module.default].flat();
  } catch (error) {
    return [{ name: file, unit: "", run: () => Promise.reject(error) }];
  }
}

async function measure(bench: Bench, options: BenchOptions): Promise<Result> {
  const { name, unit, limit, better = "less" } = bench;
  try {
    const samples = await bench.run(options);
    if (samples.length === 0) throw new Error("no samples");
    const median = quantile(samples, 0.5);
    return {
      name,
      unit,
      ...(limit === undefined ? {} : { limit, ok: better === "less" ? median <= limit : median >= limit }),
      median,
      p10: quantile(samples, 0.1),
      p90: quantile(samples, 0.9),
      samples,
    };
  } catch (error) {
    return { name, unit, error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

/** Between the two samples around the place, in proportion. */
function quantile(samples: readonly number[], q: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const place = q * (sorted.length - 1);
  const low = sorted[Math.floor(place)] ?? Number.NaN;
  const high = sorted[Math.ceil(place)] ?? Number.NaN;
  return low + (high - low) * (place - Math.floor(place));
}

function table(results: readonly Result[]): string {
  const number = (n: number | undefined): string =>
    n === undefined ? "" : Number(n.toPrecision(4)).toLocaleString("en-US", { maximumFractionDigits: 3 });
  const header = ["bench", "median", "p10–p90", "unit", "limit", "ok"];
  const rows = results.map(({ name, unit, limit, ok, median, p10, p90, error }) => [
    name,
    error === undefined ? number(median) : "error",
    error === undefined ? `${number(p10)}–${number(p90)}` : "",
    unit,
    number(limit),
    ok === undefined ? "" : ok ? "yes" : "NO",
  ]);
  const widths = header.map((_, column) =>
    Math.max(...[header, ...rows].map((row) => (row[column] ?? "").length)),
  );
  const lines = [header, ...rows].map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  const errors = results.flatMap(({ name, error }) => (error === undefined ? [] : [`\n${name}: ${error}`]));
  return `${[...lines, ...errors].join("\n")}\n`;
}

/** Numbers mean something only beside the machine they come from. */
function machine() {
  return {
    version: manifest.version,
    bun: Bun.version,
    cpu: `${cpus().length} × ${cpus()[0]?.model ?? "unknown"}`,
    memoryMB: Math.round(totalmem() / 1e6),
    arch: process.arch,
    date: new Date().toISOString(),
  };
}

if (import.meta.main) await main();
