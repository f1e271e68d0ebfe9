// A terminal from its start to its end: who may have one, whose shell it is, what it knows, and what its end says.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { userInfo } from "node:os";
import { milliseconds } from "../../src/lib/duration.ts";
import { NODE, TEST_LIMIT, asRoot, enrolledAgent, enrolledProcess } from "../support/agent.ts";
import { until } from "../support/until.ts";
import { asks, isConnected, opens } from "../support/terminal.ts";

setDefaultTimeout(TEST_LIMIT);

describe.concurrent("the end of a shell", () => {
  test.each([
    ["exit", 0, null],
    ["exit 7", 7, null],
    ["kill -KILL $$", 137, "killed by SIGKILL"],
    ["exec sh -c 'kill -SEGV $$'", 139, "killed by SIGSEGV"],
  ])("by %s is told with the code %d", async (line, code, reason) => {
    await using node = await enrolledAgent();
    using shell = await opens(node);
    shell.types(`${line}\n`);
    expect(await shell.ends()).toMatchObject({ exit_code: code, closed_reason: reason });
  });

  test("thirty times over, never loses what was written just before it", async () => {
    // Frames take their time, so that the last output is still with the kernel when the shell is gone.
    await using node = await enrolledAgent({ sandbox: { timings: { frameRaceWindow: milliseconds(20) } } });
    const once = async (): Promise<void> => {
      using shell = await opens(node);
      shell.types("x=$(head -c 10000 /dev/zero | tr '\\0' '@')\n");
      shell.types(
        "for i in $(seq 28); do printf %s $x; done; sleep 0.02; printf %s $x $x 'the last'; exit 3\n",
      );
      expect(await shell.ends()).toMatchObject({ exit_code: 3 });
      const text = shell.text();
      expect({ length: text.lastIndexOf("@") + 1, end: text.slice(300_000) }).toEqual({
        length: 300_000,
        end: "the lastexit\n",
      });
    };
    for (let round = 0; round < 10; round++) await Promise.all([once(), once(), once()]);
  });
});

describe.concurrent("a shell", () => {
  test("is the unprivileged user's, at home, on a tty of its own, with nothing of the agent's environment", async () => {
    await using node = await enrolledProcess({
      env: { AGENT_SECRET: "not for shells", NODE_OPTIONS: "", LD_LIBRARY_PATH: "/nowhere" },
    });
    using shell = await opens(node);
    const user = asRoot ? "nobody" : userInfo().username;
    expect(await shell.runs("id -un")).toBe(user);
    // An ordinary user's is where HOME says, which is the test run's own.
    const home = asRoot
      ? await shell.runs('getent passwd "$(id -u)" | cut -d: -f6')
      : (process.env["HOME"] ?? "");
    expect(await shell.runs('echo "$HOME"')).toBe(home);
    expect(await shell.runs("pwd")).toBe(await shell.runs(`cd ${home} 2>/dev/null || cd /; pwd`));
    expect(await shell.runs('stat -c %U "$(tty)"')).toBe(user);
    const names = (await shell.runs("env | cut -d= -f1 | sort")).split("\n");
    expect(names).toEqual(
      ["HOME", "LANG", "LOGNAME", "NODERAX_TERMINAL", "OLDPWD", "PAGER", "PATH", "PWD", "SHELL", "SHLVL"]
        .concat(["TERM", "USER", "_"])
        .filter((name) => name !== "OLDPWD" || names.includes(name)),
    );
    expect(await shell.runs('echo "$TERM $PAGER"')).toBe("xterm-256color cat");
    expect(await shell.runs("readlink /proc/$$/fd/* | grep -v ^/dev/pts/ | sort -u")).toBe("");
  });

  test("has the size that was asked for, and job control", async () => {
    await using node = await enrolledAgent();
    using shell = await opens(node, { cols: 97, rows: 41 });
    expect(await shell.runs("stty size")).toBe("41 97");
    shell.types("sleep 300\n");
    await shell.waits("sleep runs", () => shell.processes().length > 1);
    shell.types("\u001a");
    await shell.shows("Stopped");
    expect(await shell.runs("jobs")).toMatch(/Stopped +sleep 300/);
  });
});

describe.concurrent("a terminal is refused, in words for its operator,", () => {
  test("where the owner allows none", async () => {
    await using node = await enrolledAgent({ settings: { allow_terminal: false } });
    await isConnected(node);
    using shell = asks(node);
    const { closed_reason: reason } = await shell.ends("failed");
    expect(reason).toBe("The owner of this machine does not allow terminals (setting allow_terminal).");
    expect(shell.processes()).toEqual([]);
  });

  test("above the limit, and the others are left alone; one that ends makes room", async () => {
    await using node = await enrolledAgent({ settings: { max_terminals: 2 } });
    using first = await opens(node);
    using second = await opens(node);
    using third = asks(node);
    expect((await third.ends("failed")).closed_reason).toContain("2 open terminals");
    expect(await first.runs("echo still here")).toBe("still here");
    second.types("exit\n");
    await second.ends();
    await until("there is room", () => node.agent.status().noderax?.terminals?.length === 1);
    using fourth = await opens(node);
    expect(await fourth.runs("echo welcome")).toBe("welcome");
  });
});

test.skipIf(!asRoot)("with the profile for it, a root terminal is root (needs root)", async () => {
  await using node = await enrolledAgent({ settings: { task_poll_interval: "300ms" } });
  await isConnected(node);
  const root = { runAsRoot: true };
  expect(() => asks(node, root)).toThrow();
  node.sandbox.setRootAccess(NODE, "terminal");
  await until("it is applied", () => node.sandbox.node(NODE).root_access.applied_profile === "terminal");
  using shell = await opens(node, root);
  expect(await shell.runs("id -un; cd; pwd")).toBe("root\n/root");
  expect(await shell.runs('echo "$HOME $USER"')).toBe("/root root");
  using plain = await opens(node);
  expect(await plain.runs("id -un")).toBe("nobody");
});

describe.concurrent("a terminal is ended", () => {
  test("when nobody uses it for the idle limit, not while it is used", async () => {
    await using node = await enrolledAgent({ settings: { terminal_idle_limit: "3s" } });
    using used = await opens(node);
    used.types("while :; do echo .; sleep 0.2; done\n");
    using idle = asks(node);
    expect((await idle.ends()).closed_reason).toBe("not used for 3s");
    await idle.isGone();
    used.forgets();
    await used.shows(/(\.\n){3}/);
    expect(used.document.status).toBe("open");
  });

  test("at its maximum length, used or not", async () => {
    await using node = await enrolledAgent({ settings: { terminal_max_length: "2s" } });
    await isConnected(node);
    using shell = asks(node);
    shell.types("while :; do echo .; sleep 0.1; done\n");
    expect((await shell.ends()).closed_reason).toContain("the longest a terminal may be");
    await shell.isGone();
  });
});
