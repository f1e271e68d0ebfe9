// The log file of a service without a journal stays within its bound, and no other file is touched.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const MODULE = join(import.meta.dir, "../../../src/platform/log-file.ts");
const LINES = 100;
const LIMIT = 1_000;

let directory: string;
beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), "noderax-log-"))));
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Writes numbered lines to a log file that a supervisor has opened, bounding `bounded` after each. */
async function writeLines(bounded: string): Promise<string> {
  const path = join(directory, "agent.log");
  const log = openSync(path, "a", 0o600);
  const script = `
    const { boundLogFile } = await import(${JSON.stringify(MODULE)});
    for (let n = 0; n < ${LINES}; n++) {
      require("node:fs").writeSync(1, "line " + n + " ".repeat(50) + "\\n");
      boundLogFile(${JSON.stringify(bounded)}, ${LIMIT});
    }`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", log, "inherit"] });
  expect(await child.exited).toBe(0);
  closeSync(log);
  return path;
}

test("the log and the part before it are all that is kept, without a gap between them", async () => {
  const path = await writeLines(join(directory, "agent.log"));
  const [before, now] = [`${path}.1`, path].map((file) => readFileSync(file, "utf8")) as [string, string];
  expect(Math.max(before.length, now.length)).toBeLessThan(LIMIT + 100);
  const numbers = [...(before + now).matchAll(/line (\d+)/g)].map(([, number]) => Number(number));
  expect(numbers.at(-1)).toBe(LINES - 1);
  expect(numbers).toEqual(numbers.map((_, index) => (numbers[0] ?? 0) + index));
});

test("output that a person sends to a file is left alone", async () => {
  const path = await writeLines("/var/log/noderax-agent.log");
  expect(readFileSync(path, "utf8").trimEnd().split("\n")).toHaveLength(LINES);
  expect(existsSync(`${path}.1`)).toBe(false);
});
