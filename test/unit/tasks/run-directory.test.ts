// The real wrapper under the real shell: what a command gets, what is kept of it, and how it is taken up again.
import { expect, test } from "bun:test";
import {
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { steadyNow, steadyOf, wallFrom } from "../../../src/lib/clock.ts";
import { hours, seconds } from "../../../src/lib/duration.ts";
import { type Account, runnerFor, isRoot } from "../../../src/platform/account.ts";
import { openRun, runDirectory } from "../../../src/tasks/run/directory.ts";
import { launch } from "../../../src/tasks/run/launch.ts";
import { ENTER, READ_COMMAND, WRAPPER } from "../../../src/tasks/run/wrapper.ts";
import { stopClock } from "../../support/fake-time.ts";
import { until } from "../../support/until.ts";
import { TASK } from "./scratch.ts";
import { commandRuns, free, launched, me, other, textIn } from "./command-runs.ts";

const runs = commandRuns();
const { start, finish } = runs;

test.each([
  ["true", 0],
  ["exit 7", 7],
  ["no-such-program", 127],
  ["kill -KILL $$", 137],
  ["kill -TERM $$", 143],
  ["kill -INT $$; sleep 5", 130],
  ["kill -HUP $$", 129],
])("%p ends with %d", async (command, code) => {
  expect((await finish(command)).code).toBe(code);
});

test("stdout and stderr are kept apart, to the last byte", async () => {
  const { stdout, stderr } = await finish("echo out; echo err >&2; printf 'no line end'");
  expect(stdout()).toBe("out\nno line end");
  expect(stderr()).toBe("err\n");
});

test("bytes that are no text arrive as they were written", async () => {
  const { directory } = await finish("printf '\\000\\377\\n\\001'");
  expect([...readFileSync(join(directory, "stdout.log"))]).toEqual([0, 255, 10, 1]);
});

test("a command that opens /dev/stdout and /dev/stderr again truncates nothing", async () => {
  const { stdout, stderr } = await finish(
    "echo one; echo two >/dev/stdout; echo three >/dev/stdout; echo four; echo a >/dev/stderr; echo b >/dev/stderr",
  );
  expect(stdout()).toBe("one\ntwo\nthree\nfour\n");
  expect(stderr()).toBe("a\nb\n");
});

test("stdin is closed: a command that reads gets the end at once", async () => {
  expect(await finish("cat; echo done")).toMatchObject({ code: 0 });
});

test("the environment is exactly what was asked for", async () => {
  const { stdout } = await finish("env", { environment: { A: "x\ny'z" } });
  const names = [...stdout().matchAll(/^([A-Z_a-z]+)=/gm)].map(([, name]) => name ?? "").sort();
  // The shell itself adds PWD, SHLVL, OLDPWD and _.
  expect(names.filter((name) => !["PWD", "SHLVL", "_"].includes(name))).toEqual([
    "A",
    "HOME",
    "PATH",
    "TASK_ID",
  ]);
  expect(stdout()).toContain("A=x\ny'z\n");
});

test("no descriptor but the first three is open in the command", async () => {
  const { stdout } = await finish("ls /proc/self/fd");
  // The fourth is the directory that ls reads.
  expect(stdout().trim().split("\n")).toEqual(["0", "1", "2", "3"]);
  expect((await finish("ls -l /proc/self/fd")).stdout()).not.toContain("command.sh");
});

test("no signal is ignored or blocked in the command, as it would be in a shell's background", async () => {
  const { stdout } = await finish("grep -E '^Sig(Blk|Ign):' /proc/self/status", {});
  const masks = [...stdout().matchAll(/^Sig...:\s*([0-9a-f]+)$/gm)].map(([, mask]) => BigInt(`0x${mask}`));
  expect(masks).toEqual([0n, 0n]);
});

test("the command's text stands in no argument list, and its file is removed", async () => {
  const it = await start("echo ready; sleep 30 # s3cret", { shell: "/bin/sh" });
  await until("the command", () => it.stdout() === "ready\n");
  expect(existsSync(join(it.directory, "command.sh"))).toBe(false);
  const wrapper = Number.parseInt(textIn(join(it.directory, "session")), 10);
  expect(readFileSync(`/proc/${wrapper}/cmdline`, "utf8")).not.toContain("s3cret");
});

test("a working directory is entered; one that is not there fails the command", async () => {
  expect((await finish("pwd", { workingDirectory: "/usr" })).stdout()).toBe("/usr\n");
  expect((await finish("pwd", { workingDirectory: "/no/where" })).code).toBe(126);
});

test("without a working directory a command starts in its home, or in / where there is none", async () => {
  expect((await finish("pwd", { environment: { HOME: "/usr" } })).stdout()).toBe("/usr\n");
  expect((await finish("pwd", { environment: { HOME: "/no/where" } })).stdout()).toBe("/\n");
});

test("nobody else can read what a task writes", async () => {
  const { directory, run } = await finish("true");
  await until("the wrapper to take its pipes away", () => run.wrapperAlive() === false);
  expect(statSync(directory).mode & 0o777).toBe(0o700);
  for (const name of readdirSync(directory)) expect(statSync(join(directory, name)).mode & 0o077).toBe(0);
});

test("output beyond the limit is counted, not kept, and does not end the command", async () => {
  const { code, directory, stdout } = await finish("head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2", {
    outputLimit: 1_000_000,
  });
  expect(code).toBe(0);
  await until("the count", () => textIn(join(directory, "stdout.discarded")) !== "");
  const kept = stdout().length;
  const discarded = Number(textIn(join(directory, "stdout.discarded")));
  expect(kept).toBeGreaterThanOrEqual(1_000_000 - 512);
  expect(kept).toBeLessThanOrEqual(1_000_512);
  // What `cat` held when it met the limit is lost uncounted: a pipe's worth.
  expect(discarded).toBeGreaterThan(3_000_000 - kept - 200_000);
  expect(discarded).toBeLessThanOrEqual(3_000_000 - kept);
});

test("a background child that keeps the output open does not keep the exit status back, and is named", async () => {
  const it = await start("sleep 60 & echo started; exit 3");
  await until("the exit status", () => it.run.exitCode() !== undefined);
  expect(it.run.exitCode()).toBe(3);
  await until("the output", () => it.stdout() === "started\n");
  expect(it.run.copying()).toBe(true);
  expect(it.run.outputHolders()).toHaveLength(1);
  expect(it.run.outputHolders()[0]).toMatch(/^pid \d+ \(sleep\)$/);
});

test("an agent that comes later learns the same from the directory", async () => {
  const it = await start("echo x; sleep 60");
  await until("the output", () => it.stdout() === "x\n");
  const found = openRun(it.directory, TASK, launched);
  expect(found.hasBegun()).toBe(true);
  expect(found.wrapperAlive()).toBe(true);
  expect(found.exitCode()).toBeUndefined();
  expect(found.members()).toEqual(it.run.members());
  expect(found.prevent()).toBe(false);
});

test("what was prevented never begins, and what has begun cannot be prevented", async () => {
  const directory = runDirectory(runs.directory(), TASK, 9);
  expect(openRun(directory, TASK, launched).prevent()).toBe(true);
  writeFileSync(join(directory, "command.sh"), "echo ran");
  writeFileSync(join(directory, "wrapper.sh"), WRAPPER);
  const late = Bun.spawnSync(["/bin/sh", "-c", ENTER, "sh", directory, "10", "/bin/sh", "-c", READ_COMMAND], {
    timeout: seconds(5),
  });
  expect(late.exitCode).toBeGreaterThan(0);
  expect(readdirSync(directory).sort()).toEqual(["began", "command.sh", "wrapper.sh"]);

  const begun = await finish("echo ran");
  expect(begun.run.prevent()).toBe(false);
});

test.skipIf(!isRoot())("a wrapper does not run in a directory that is not root's (needs root)", async () => {
  const directory = runDirectory(runs.directory(), TASK, 9);
  mkdirSync(directory);
  writeFileSync(join(directory, "wrapper.sh"), "echo planted");
  const run = (): string =>
    Bun.spawnSync(["/bin/sh", "-c", ENTER, "sh", directory], { timeout: seconds(5) }).stdout.toString();
  expect(run()).toBe("planted\n");
  chownSync(directory, 65_534, 65_534);
  expect(run()).toBe("");
});

test.skipIf(!isRoot())(
  "nothing is launched in a directory that was there before, or below another user's (needs root)",
  async () => {
    const order = { taskId: TASK, attempt: 1, mode: "session", runner: me, outputLimit: 1, ...free } as const;
    const script = { argv: ["true"], environment: {}, workingDirectory: undefined };
    mkdirSync(runs.at("theirs/there"), { recursive: true });
    const tried = (directory: string) => launch({ ...order, script, directory: runs.at(directory) });
    expect(await tried("theirs/there")).toContain("EEXIST");
    chownSync(runs.at("theirs"), 65_534, 65_534);
    expect(await tried("theirs/new")).toContain("belongs to nobody");
    expect(existsSync(runs.at("theirs/new"))).toBeFalse();
  },
);

test("of a launch and its prevention exactly one wins, in any order", async () => {
  // Which of the two it is, is up to the machine: that each can be, another test shows.
  for (let round = 0; round < 40; round++) {
    const it = await start("echo ran");
    // Spread over the two milliseconds in which the shell starts.
    for (const end = performance.now() + (round % 20) / 10; performance.now() < end;);
    if (it.run.prevent()) continue;
    await until("the command's end", () => it.run.exitCode() !== undefined && !it.run.copying());
    expect(it.stdout()).toBe("ran\n");
  }
  for (const { run, directory } of runs.started()) {
    // A wrapper that lost has made nothing: no pipe on which a pump would wait for ever.
    if (run.prevent()) expect(existsSync(join(directory, "stdout.pipe"))).toBe(false);
  }
});

test.skipIf(other === undefined)(
  "the command runs as the task's user with that user's groups alone (needs root)",
  async () => {
    const account = other as Account;
    const { stdout, code } = await finish(
      "id -u; id -g; id -G; grep CapEff /proc/self/status; echo x >/dev/stdout",
      { runner: runnerFor(account) },
    );
    expect(code).toBe(0);
    expect(stdout()).toBe(`${account.uid}\n${account.gid}\n${account.gid}\nCapEff:\t0000000000000000\nx\n`);
  },
);

test.skipIf(other === undefined)(
  "the task's user reads neither its own log nor what runs beside it (needs root)",
  async () => {
    const it = await finish('cat \'$0\' 2>&1; ls "$RUN" 2>&1; cat "$RUN/stdout.log" 2>&1; true', {
      runner: runnerFor(other as Account),
      environment: { RUN: runDirectory(runs.directory(), TASK, 1) },
    });
    expect(it.stdout().match(/Permission denied/g)).toHaveLength(2);
  },
);

test("a directory that cannot be made fails the launch in words", async () => {
  const order = { taskId: TASK, attempt: 1, mode: "session", runner: me, outputLimit: 1, ...free } as const;
  const script = { argv: ["true"], environment: {}, workingDirectory: undefined };
  const failure = await launch({ ...order, directory: "/proc/no/where", script });
  expect(failure).toStartWith("the run directory cannot be written: ");
});

test("the wrapper writes down when the command ended and how long it ran, whenever somebody asks", async () => {
  const before = steadyNow();
  const { run } = await finish("sleep 0.3");
  const after = steadyNow();
  using clock = stopClock();
  await clock.pass(hours(1));
  const span = run.span();
  expect(span?.duration).toBeWithin(280, after - before + 20);
  expect(span?.ended).toBeWithin(before + 280, after + 20);
});

test("a run of an earlier boot ended when its exit status was written, and its length is of its own clock", async () => {
  const it = await finish("sleep 0.3");
  const written = steadyOf(wallFrom(statSync(join(it.directory, "exit")).mtimeMs));
  const span = openRun(it.directory, TASK, { ...launched, bootId: "the boot before" }).span();
  expect(span?.duration).toBeWithin(280, 10_000);
  expect(span?.ended).toBeWithin(written - 20, written + 20);
});

test("a command has the soft limit of open files it is given", async () => {
  const { stdout } = await finish("ulimit -Sn", { openFiles: 512 });
  expect(stdout()).toBe("512\n");
});

test("a command has an out-of-memory score of 0, whatever the agent's is", async () => {
  const own = "/proc/self/oom_score_adj";
  const before = readFileSync(own, "utf8");
  try {
    writeFileSync(own, "-500");
  } catch {
    writeFileSync(own, "500"); // Only CAP_SYS_RESOURCE may lower it.
  }
  try {
    const { stdout } = await finish(`cat ${own}`);
    expect(stdout()).toBe("0\n");
  } finally {
    writeFileSync(own, before);
  }
});

test("on a full disk a large stream is counted from then on, a small one is kept, and the command notices nothing", async () => {
  const it = await start(
    "seq 20000; echo small >&2; until [ -e go ]; do sleep 0.02; done; seq 20000; echo more >&2",
    {
      workingDirectory: runs.directory(),
    },
  );
  await until("the output", () => it.stdout().endsWith("20000\n") && it.stderr() === "small\n");
  const kept = it.stdout().length;
  expect(kept).toBeGreaterThan(64 * 1024);
  expect(it.run.stopKeeping()).toBe(true);
  writeFileSync(runs.at("go"), "");
  await until("the end", () => it.run.exitCode() !== undefined && !it.run.copying());
  expect(it.run.exitCode()).toBe(0);
  expect([it.stdout().length, it.stderr()]).toEqual([kept, "small\nmore\n"]);
  expect(Number(textIn(join(it.directory, "stdout.discarded")))).toBe(kept);
});
