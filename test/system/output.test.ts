// Promises about the output of every command: it is complete, or the exit code and one line tell that it is not.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { binary } from "../support/binary.ts";
import { inTerminal } from "../support/screen.ts";
import { type Machine, enrolled, machine, runs, startSandbox, until } from "../support/dev.ts";

// The one of preload.ts holds for the first file of a run only (Bun 1.4.5).
setDefaultTimeout(20_000);

/** A line of shell, `$0` being the program. */
const shell = (host: Machine, line: string) => host.run(["-c", line, binary], { file: "/bin/bash" });

/** A task that has written this much, in the sandbox and on the node. */
async function taskThatWrote(host: Machine, lines: number): Promise<string> {
  const sandbox = await startDevNode(host);
  const id = await sandbox.order("web-01", `seq -f '%040.0f' ${lines}`);
  await sandbox.sees(id, "success");
  return id;
}

let ending: AsyncDisposableStack;
async function startDevNode(host: Machine) {
  ending = new AsyncDisposableStack();
  const sandbox = ending.use(await startSandbox(host));
  await enrolled(host, sandbox, "web-01");
  ending.use(host.start(["run", "--task-poll-interval", "500ms"]));
  return sandbox;
}

test("a pipe whose reader is slow gets the same bytes as a file, far beyond what the pipe holds", async () => {
  using host = machine();
  const id = await taskThatWrote(host, 10_000);
  await using _ending = ending;
  for (const command of [`task logs ${id}`, `sandbox show ${id} --all`, `sandbox show ${id} --all --json`]) {
    const { stdout } = await shell(
      host,
      // The reader begins when the writer has nothing more to do than to wait for it, or to leave with output pending.
      `"$0" ${command} > file; { "$0" ${command}; echo $? > code; } | { sleep 0.5; cmp - file && wc -c < file; }; cat code`,
    );
    const [size, code] = stdout.trim().split("\n").map(Number);
    expect({ command, code }).toEqual({ command, code: 0 });
    expect(size).toBeGreaterThan(300_000);
  }
});

describe("on a full disk", () => {
  const full = "error: the output cannot be written: no space left on device\n";

  test.each(["version", "help settings", "config show", "config show --json", "--help"])(
    "%s exits with 1 and one line",
    async (command) => {
      using host = machine();
      const { code, stderr } = await shell(host, `"$0" ${command} > /dev/full`);
      expect({ code, stderr }).toEqual({ code: 1, stderr: full });
    },
  );

  test("task logs and sandbox show do, too", async () => {
    using host = machine();
    const id = await taskThatWrote(host, 5_000);
    await using _ending = ending;
    for (const command of [
      `task logs ${id}`,
      `task logs -f ${id}`,
      `sandbox show ${id} --all`,
      "task list",
    ]) {
      const { code, stderr } = await shell(host, `"$0" ${command} > /dev/full`);
      expect({ command, code, stderr }).toEqual({ command, code: 1, stderr: full });
    }
  });

  test("notes that cannot be written change exit code 0, and no other", async () => {
    using host = machine();
    expect((await shell(host, `"$0" task list 2> /dev/full`)).code).toBe(1);
    expect((await shell(host, `"$0" frobnicate 2> /dev/full`)).code).toBe(2);
  });
});

test("a reader that leaves early ends a command without a message, as SIGPIPE ends other programs", async () => {
  using host = machine();
  // A reader that has closed before the first byte.
  const { stdout, stderr } = await shell(host, `{ sleep 0.2; "$0" version; } | true; echo \${PIPESTATUS[0]}`);
  expect({ stdout, stderr }).toEqual({ stdout: "141\n", stderr: "" });
});

describe.each([["dev"], ["dev --json"]])("%s whose reader leaves", (command) => {
  test("ends by itself and leaves neither a process nor a file", async () => {
    using host = machine();
    const line = `"$0" ${command} --port 0 | { read -r line; }; echo \${PIPESTATUS[0]}`;
    const { stdout } = await shell(host, line);
    expect(stdout).toBe("141\n");
    expect(filesBelow(host.at("tmp"))).toEqual([]);
  });
});

describe("a reader that hangs", () => {
  /** Standard output is a pipe without any room, as behind a pager or a journal that stands still. */
  const FULL = "mkfifo full && exec 3<>full && head -c 65536 /dev/zero >&3";

  test("does not keep an agent from working and from stopping", async () => {
    using host = machine();
    await using sandbox = await startSandbox(host);
    await enrolled(host, sandbox, "web-01");
    const agent = `exec "$0" run --log-level debug --task-poll-interval 500ms >&3`;
    await using shell = host.start(["-c", `${FULL} && ${agent}`, binary], { file: "/bin/bash" });
    const id = await sandbox.order("web-01", "echo it works");
    expect(await sandbox.sees(id, "success")).toMatchObject({ output: "it works\n" });
    shell.signal("SIGTERM");
    expect(await shell.exited).toBe(0);
  });

  test("is waited for by a command, until a signal comes", async () => {
    using host = machine();
    const line = `${FULL} && { "$0" help settings >&3 & } && sleep 0.5 && kill $! && wait $!; echo $?`;
    expect((await shell(host, line)).stdout).toBe("143\n");
  });
});

test("a sandbox goes on when a script has read its first line", async () => {
  using host = machine();
  const line = `"$0" sandbox --json --port 0 | { read -r line; }`;
  await using script = host.start(["-c", line, binary], { file: "/bin/bash" });
  await until("it answers", async () => (await host.run(["sandbox", "nodes"])).code === 0);
  expect(runs(script.pid)).toBeTrue();
});

describe("a signal while dev starts", () => {
  test.each(["SIGHUP", "SIGTERM", "SIGINT"] as const)(
    "%s leaves neither a process nor a file",
    async (signal) => {
      using host = machine();
      // Sent at once, and when each of these has appeared: one after the other, over the whole start.
      for (const moment of ["", "noderax-dev-", "config.json", "agent_identity.json", "state.db"]) {
        const dev = host.start(["dev", "--port", "0"]);
        await until(`there is ${moment}`, () =>
          ["", ...filesBelow(host.at("tmp"))].some((name) => name.startsWith(moment)),
        );
        dev.signal(signal);
        await dev.exited;
        expect(runs(dev.pid)).toBeFalse();
        expect({ moment, left: filesBelow(host.at("tmp")) }).toEqual({ moment, left: [] });
      }
    },
  );
});

test("a terminal that closes stops an agent in order, and not one under nohup", async () => {
  using host = machine();
  await using sandbox = await startSandbox(host);
  await enrolled(host, sandbox, "web-01");
  await using agent = host.start(["run", "--task-poll-interval", "500ms"]);
  await agent.line(/started/);
  agent.signal("SIGHUP");
  await agent.line(/SIGHUP: stopping/);
  expect(await agent.exited).toBe(0);
  expect(existsSync(host.at("work/data/agent.sock"))).toBeFalse();

  await using kept = host.start(["-c", `trap '' HUP; exec ${binary} run --task-poll-interval 500ms`], {
    file: "/bin/sh",
  });
  await kept.line(/started/);
  kept.signal("SIGHUP");
  kept.signal("SIGTERM");
  await kept.line(/SIGTERM: stopping/);
  expect(await kept.exited).toBe(0);
});

/** Empty directories left out, but for those of a `dev`. */
const filesBelow = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory() || entry.name.startsWith("noderax-dev-"))
    .map(({ name }) => name);

describe("on a terminal, output of a task", () => {
  const COMMAND = String.raw`printf '\033]0;forged title\007\033[31mred\033[0m\rover\033[2J\n'`;
  const SHOWN = "\\x1b]0;forged title\\x07\u001b[31mred\u001b[0m\\rover\\x1b[2J";
  const WRITTEN = "\u001b]0;forged title\u0007\u001b[31mred\u001b[0m\rover\u001b[2J\n";

  test("keeps its colours and obeys no other sequence, but with --raw, and is untouched in a pipe", async () => {
    using host = machine();
    const sandbox = await startDevNode(host);
    await using _ending = ending;
    const id = await sandbox.order("web-01", COMMAND);
    await sandbox.sees(id, "success");
    for (const args of [
      ["task", "logs", id],
      ["sandbox", "show", id],
      ["sandbox", "task", "web-01", COMMAND],
    ]) {
      using person = inTerminal(host, args);
      await person.exited;
      expect(person.screen()).toContain(SHOWN);
      using raw = inTerminal(host, [...args, "--raw"]);
      await raw.exited;
      expect(raw.screen()).toContain(WRITTEN.trimEnd());
      expect((await host.run(args)).stdout).toContain(WRITTEN);
    }
  });

  test("cannot do anything by an error message either", async () => {
    using host = machine();
    using person = inTerminal(host, ["config", "set", "log_level", "\u001b[2J\u009b31m"]);
    expect(await person.exited).toBe(2);
    expect(person.text()).toContain('log_level: "\\x1b[2J\\x9b31m"');
  });
});
