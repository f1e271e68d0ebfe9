// What a command writes: nothing is lost without a word, whatever bytes it is made of and however much it is.
import { appendFileSync } from "node:fs";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { LOG_LINE_MAX, OUTPUT_KEPT } from "../../src/protocol/noderax/limits.ts";
import { TEST_LIMIT, enrolledAgent } from "../support/agent.ts";
import { type TaskHandle } from "../support/task.ts";
import { isAlive } from "../support/processes.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(TEST_LIMIT);

/** What `task logs` prints on the node. */
async function logsOf(task: TaskHandle, ...args: string[]): Promise<Buffer> {
  const main = join(import.meta.dir, "../../src/main.ts");
  const command = ["task", "logs", task.id, "--config", task.machine.configFile, ...args];
  const child = Bun.spawn([process.execPath, "--no-env-file", main, ...command], {
    env: {},
    stdio: ["ignore", "pipe", "inherit"],
  });
  return Buffer.from(await child.stdout.bytes());
}

describe.concurrent("output arrives", () => {
  test("with blank lines, indentation and no final line feed", async () => {
    await using node = await enrolledAgent();
    const task = node.runs("printf '\\n\\n  a\\n\\n\\nb\\t\\n\\nend'");
    const { output } = await task.finishes("success");
    expect(output).toBe("\n\n  a\n\n\nb\t\n\nend");
    expect(task.text("stdout")).toBe("\n\n  a\n\n\nb\t\n\nend");
  });

  test("with NUL, broken UTF-8 and half surrogates made readable", async () => {
    await using node = await enrolledAgent();
    const task = node.runs(
      "printf 'a\\000b\\n\\377\\376x\\n\\355\\240\\275y\\n\\303'; printf '\\360\\237\\230\\200\\n' >&2",
    );
    const { output } = await task.finishes("success");
    expect(task.text("stdout")).toBe("a\uFFFDb\n\uFFFD\uFFFDx\n\uFFFD\uFFFD\uFFFDy\n\uFFFD");
    expect(task.text("stderr")).toBe("😀");
    expect(output?.isWellFormed()).toBe(true);
    expect(output).not.toContain("\0");
    expect(task.kept("stdout")).toEqual(Buffer.from("a\0b\n\xff\xfex\n\xed\xa0\xbdy\n\xc3", "latin1"));
  });

  test("while the command runs, also when a progress bar never ends its line", async () => {
    await using node = await enrolledAgent();
    const task = node.runs("for i in 1 2 3; do printf '%s0%%\\r' $i; sleep 0.1; done; sleep 300");
    await task.shows("30%");
    expect(task.document().status).toBe("running");
    task.cancels();
    await task.finishes("cancelled");
    expect(task.text("stdout").replaceAll("\n", "")).toBe("10%\r20%\r30%\r");
  });

  test("through /dev/stdout and /dev/stderr, which truncates nothing", async () => {
    await using node = await enrolledAgent();
    const task = node.runs("echo one; echo two > /dev/stdout; echo three; echo four > /dev/stderr");
    await task.finishes("success");
    expect(task.text("stdout")).toBe("one\ntwo\nthree");
    expect(task.text("stderr")).toBe("four");
  });

  test("in the order of the streams when a command takes its time", async () => {
    await using node = await enrolledAgent();
    const seen = node.file("seen");
    const wait = (text: string): string => `until grep -qx "${text}" ${seen.path}; do sleep 0.05; done`;
    await Bun.write(seen.path, "");
    const task = node.runs(
      `for i in 1 2 3; do echo out $i; ${wait("out $i")}; echo err $i >&2; ${wait("err $i")}; done`,
    );
    for (const text of ["out 1", "err 1", "out 2", "err 2", "out 3", "err 3"]) {
      await task.shows(text);
      appendFileSync(seen.path, `${text}\n`);
    }
    const { output } = await task.finishes("success");
    expect(output).toBe("out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n");
  });
});

describe.concurrent("much output", () => {
  test("a line of 10 MB is shown at both ends, its gap is stated, and all of it is on the node", async () => {
    await using node = await enrolledAgent();
    const task = node.runs("printf BEGIN; head -c 10000000 /dev/zero | tr '\\0' x; printf END");
    const { output } = await task.finishes("success");
    const rows = task.rows();
    expect(rows.length).toBeLessThanOrEqual(100);
    expect(rows[0]?.line).toStartWith("BEGINxxx");
    expect(task.text("stdout")).toEndWith("xEND");
    expect(task.text("info")).toContain("of stdout not shown here");
    expect(output?.length).toBeLessThanOrEqual(OUTPUT_KEPT);
    expect(output).toStartWith("BEGINx");
    expect(output).toEndWith("xEND");
    const kept = await logsOf(task);
    expect(kept.length).toBe(10_000_008);
    expect(kept.equals(task.kept("stdout"))).toBe(true);
  });

  test("of 50 000 lines the operator sees head and tail, and the number of those between", async () => {
    await using node = await enrolledAgent();
    const task = node.runs("i=0; while [ $i -lt 50000 ]; do echo line $((i=i+1)); done");
    await task.finishes("success");
    const rows = task.rows();
    expect(rows.length).toBeLessThanOrEqual(100);
    for (const { line } of rows) expect(Array.from(line).length).toBeLessThanOrEqual(LOG_LINE_MAX);
    let next = 1;
    let skipped = 0;
    for (const { level, line } of rows) {
      const [, gap] = /^… ([\d ]+) lines? /.exec(line) ?? [];
      if (level === "info") {
        expect(gap).toBeDefined();
        skipped += Number(gap?.replaceAll(" ", ""));
        next += Number(gap?.replaceAll(" ", ""));
        continue;
      }
      for (const each of line.split("\n")) expect(each).toBe(`line ${next++}`);
    }
    expect(next).toBe(50_001);
    expect(skipped).toBeGreaterThan(0);
    const expected = Array.from({ length: 50_000 }, (_, i) => `line ${i + 1}\n`).join("");
    expect((await logsOf(task)).toString()).toBe(expected);
    expect((await logsOf(task, "--stream", "stderr")).length).toBe(0);
  });

  test("a background child that keeps stdout open does not hold the task up, and is named", async () => {
    await using node = await enrolledAgent();
    const task = node.runs(`echo before; sleep 300 & echo $! > ${node.file("pid").path}`);
    const pid = await node.file("pid").appears();
    const begun = performance.now();
    await task.finishes("success");
    expect(performance.now() - begun).toBeLessThan(25_000);
    expect(task.text("stdout")).toBe("before");
    expect(task.text("info")).toContain(`output still held open by pid ${pid} (sleep)`);
    expect(isAlive(pid)).toBe(true);
    process.kill(Number(pid));
    await until("the child is gone", () => !isAlive(pid));
  });

  test("output beyond task_output_limit is discarded without breaking the command, and counted", async () => {
    await using node = await enrolledAgent({ settings: { task_output_limit: "64KiB" } });
    const task = node.runs("yes 0123456789 | head -c 1000000; echo $? >&2");
    await task.finishes("success");
    expect(task.kept("stdout").length).toBeLessThanOrEqual(65_536);
    expect(task.text("stderr")).toBe("0");
    expect(task.text("info")).toMatch(
      /\d{6} bytes or a little more of stdout were not kept: task_output_limit/,
    );
  });
});
