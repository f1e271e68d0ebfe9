// `npm test` itself: tests do not touch the home of who runs them, and one that leaves something behind fails.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");
const node = Bun.which("node") ?? process.execPath;

let checkout: string;
let home: string;
beforeAll(() => {
  const place = mkdtempSync(join(tmpdir(), "noderax-test-"));
  [checkout, home] = [join(place, "checkout"), join(place, "home")];
  for (const name of [".ci", "test"]) mkdirSync(join(checkout, name), { recursive: true });
  mkdirSync(home);
  cpSync(join(root, ".ci/test.mjs"), join(checkout, ".ci/test.mjs"));
  symlinkSync(join(root, "node_modules"), join(checkout, "node_modules"));
  writeFileSync(join(home, ".bash_history"), "of the developer\n");
});
afterAll(() => rmSync(join(checkout, ".."), { recursive: true, force: true }));

/** Runs a checkout whose only test is this shell script; resolves with what was printed and the exit code. */
async function npmTest(script: string): Promise<{ readonly code: number; readonly text: string }> {
  writeFileSync(
    join(checkout, "test/only.test.ts"),
    `import { expect, test } from "bun:test";
test("only", () => expect(Bun.spawnSync(["sh", "-c", ${JSON.stringify(script)}]).exitCode).toBe(0));\n`,
  );
  const { NODERAX_TESTS_PREPARED: _, ...own } = process.env;
  const child = Bun.spawn([node, ".ci/test.mjs", "test/only.test.ts"], {
    cwd: checkout,
    env: { ...own, HOME: home },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [out, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, text: out + errors };
}

test("what a test writes to its home and to its temporary directory does not reach the developer's", async () => {
  const { code, text } = await npmTest(
    'echo of a test >> ~/.bash_history && echo x > "$TMPDIR/x" && rm "$TMPDIR/x"',
  );
  expect({ code, text }).toMatchObject({ code: 0, text: expect.stringContaining("1 pass") });
  expect(readFileSync(join(home, ".bash_history"), "utf8")).toBe("of the developer\n");
});

test("a file that a test leaves behind fails the run, and is named", async () => {
  const { code, text } = await npmTest('echo x > "$TMPDIR/forgotten"');
  expect(text).toContain("left behind: file forgotten in the temporary directory");
  expect(code).toBe(1);
});

test("a process that a test leaves behind fails the run, and is named", async () => {
  const { code, text } = await npmTest('cd "$TMPDIR" && { sleep 50 >/dev/null 2>&1 & }');
  const [, pid] = /left behind: process (\d+): sleep 50/.exec(text) ?? [];
  if (pid !== undefined) process.kill(Number(pid), "SIGKILL");
  expect(text).toMatch(/left behind: process \d+: sleep 50/);
  expect(code).toBe(1);
});
