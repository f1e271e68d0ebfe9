// A terminal as the control plane sees it: opened, its output, its end.
import { expect, setDefaultTimeout, test } from "bun:test";
import { randomUUID } from "node:crypto";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { seconds } from "../../../src/lib/duration.ts";
import { findAccount, isRoot, runnerFor } from "../../../src/platform/account.ts";
import { sharedProcessTable, readProcessTable } from "../../../src/platform/process-table.ts";
import { TERMINAL_MARKER } from "../../../src/terminal/shell.ts";
import { PTY_MODES } from "../../../src/terminal/pty/pty.ts";
import { turn, until } from "../../support/until.ts";
import { scratchDirectory } from "../identity/scratch.ts";
import { alive, openTerminals, terminalNode, user } from "./harness.ts";

setDefaultTimeout(150_000);

test("a terminal opens with its size, runs commands, and ends with its exit code after its last output", async () => {
  await using node = terminalNode();
  const shell = await node.open({ cols: 90, rows: 20 });
  expect(node.channel.of("terminal.opened", shell.id)).toMatchObject([{ cols: 90, rows: 20 }]);
  expect(await shell.run("stty size; echo $TERM $PAGER")).toBe("20 90\nxterm-256color cat");
  expect(node.terminals.active()).toMatchObject([
    { id: shell.id, account: user.name, root: false, cols: 90, rows: 20, mode: "pty+ctty" },
  ]);
  shell.type("echo last; exit 7\n");
  expect(await shell.exited()).toMatchObject({ exitCode: 7 });
  const events = node.channel.sent.map(({ event }) => event);
  expect([events[0], events.at(-1)]).toEqual(["terminal.opened", "terminal.exited"]);
  expect(events.filter((event) => event === "terminal.exited")).toHaveLength(1);
  expect(shell.text()).toContain("last\r\n");
  await until("it is forgotten", () => node.terminals.active().length === 0);
});

test("exit code 0 is reported without a reason", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  shell.type("exit\n");
  const { timestamp, ...end } = await shell.exited();
  expect(Date.parse(String(timestamp))).toBeCloseTo(Date.now(), -5);
  expect(end).toEqual({ sessionId: shell.id, exitCode: 0 });
});

test("a shell that is killed says by what", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  shell.type("kill -9 $$\n");
  expect(await shell.exited()).toMatchObject({ exitCode: 137, reason: "killed by SIGKILL" });
});

test.each([{}, { cols: 0, rows: 0 }])("a start with the size %j gets 120 by 34", async (size) => {
  await using node = terminalNode();
  const shell = await node.open(size);
  expect(node.channel.of("terminal.opened", shell.id)).toMatchObject([{ cols: 120, rows: 34 }]);
  expect(await shell.run("stty size")).toBe("34 120");
});

test("a new size is seen by the program, behind what was typed before it", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  shell.type("trap 'stty size' WINCH; stty size; read x\n");
  shell.resize(77, 22);
  await shell.sees("22 77");
});

test("the environment holds nothing of the agent's, and the pty is the user's own", async () => {
  process.env["NODERAX_AGENT_TOKEN"] = "s3cret";
  try {
    await using node = terminalNode();
    const shell = await node.open();
    expect(
      await shell.run("env | cut -d= -f1 | grep -v -e ^_ -e ^PWD -e ^OLDPWD -e SHLVL | sort | xargs"),
    ).toBe("HOME LANG LOGNAME NODERAX_TERMINAL PAGER PATH SHELL TERM USER");
    expect(await shell.run("cat /proc/$$/environ | grep -c s3cret")).toBe("0");
    expect(await shell.run("echo mine > $(tty)")).toBe("mine");
    expect(await shell.run("id -un")).toBe(user.name);
  } finally {
    delete process.env["NODERAX_AGENT_TOKEN"];
  }
});

test("Ctrl-C, Ctrl-Z, fg and jobs work", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  shell.type("sh -c 'echo pid=$$; exec sleep 100'\n");
  await shell.sees(/pid=\d+\r/);
  const pid = Number(/pid=(\d+)\r/.exec(shell.text())?.[1]);
  const isInFront = (): boolean => {
    const [state, , group, , , front] =
      readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)?.split(" ") ?? [];
    return state === "S" && group === front;
  };
  await until("sleep is in front", isInFront);
  shell.type("\x1a");
  await shell.sees("Stopped");
  expect(await shell.run("jobs")).toContain("sleep 100");
  shell.type("fg\n");
  await until("sleep is in front again", isInFront);
  shell.type("\x03");
  shell.type("echo code=$?\n");
  await shell.sees("code=130");
  expect(await shell.run("jobs")).toBe("");
});

test.each(PTY_MODES)("a terminal works and is stopped in the mode %s", async (mode) => {
  await using node = terminalNode({ modes: [mode] });
  const shell = await node.open();
  expect(node.terminals.active()[0]?.mode).toBe(mode);
  const pid = Number(
    await shell
      .run("echo grüße >&2; sleep 300 >/dev/null 2>&1 </dev/null & echo $!")
      .then((output) => output.split("\n").at(-1)),
  );
  expect(shell.text()).toContain("grüße");
  expect(alive(pid)).toBe(true);
  shell.stop("enough");
  expect(await shell.exited()).toMatchObject({ reason: "enough" });
  expect(alive(pid)).toBe(false);
});

test("a stop ends everything: disowned, nohup, in sessions of their own, stopped, deaf to TERM", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  // Says who it is, then sleeps with nothing of the terminal open.
  const sleeper = (first = "", last = ""): string =>
    `sh -c '${first} echo @$$; exec >/dev/null 2>&1 </dev/null; ${last} while :; do sleep 0.1; done'`;
  for (const line of [
    `${sleeper()} & disown`,
    `(nohup ${sleeper()} 2>/dev/null | cat) &`,
    `setsid ${sleeper()} &`,
    `setsid ${sleeper('trap "" HUP TERM;')} &`,
    // As sudo does it: another environment, another session, but a parent that waits.
    `env -u NODERAX_TERMINAL setsid --wait ${sleeper()} &`,
    `${sleeper("", "kill -STOP $$;")} &`,
  ])
    shell.type(`${line}\n`);
  const printedPids = (): number[] => [...shell.text().matchAll(/@(\d+)\r/g)].map(([, pid]) => Number(pid));
  await until(`all six run: ${shell.text()}`, () => printedPids().length === 6);
  const pids = printedPids();
  expect(new Set(pids).size).toBe(6);
  expect(pids.filter(alive)).toHaveLength(pids.length);
  shell.stop("operator closed it");
  expect(await shell.exited()).toMatchObject({ reason: "operator closed it" });
  expect(pids.filter(alive)).toEqual([]);
});

test("an exit leaves alone what the person left running on purpose", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  const pid = Number(
    await shell
      .run("nohup sleep 300 >/dev/null 2>&1 </dev/null & echo $!")
      .then((output) => output.split("\n").at(-1)),
  );
  shell.type("exit\n");
  await shell.exited();
  expect(alive(pid)).toBe(true);
  process.kill(pid, "SIGKILL");
});

test("a stop before the shell runs: no terminal.opened, but an end", async () => {
  await using node = terminalNode();
  const shell = node.start();
  shell.stop("changed my mind");
  expect(await shell.exited()).toMatchObject({ exitCode: null, reason: "changed my mind" });
  expect(node.channel.of("terminal.opened", shell.id)).toEqual([]);
});

test("the first reason counts", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  shell.stop("first");
  shell.stop("second");
  expect(await shell.exited()).toMatchObject({ reason: "first" });
});

test.each(["failed", "closed"])(
  "opened too late (%s): the shell is ended, and nothing more is said",
  async (status) => {
    await using node = terminalNode();
    const shell = node.start();
    node.channel.setStatus(shell.id, status);
    await until("it is over", () => node.log.some((line) => line.includes("ended after")));
    await until("nothing runs", () => node.terminals.active().length === 0);
    expect(node.channel.sent.map(({ event }) => event)).toEqual(["terminal.opened"]);
  },
);

test("output that nobody takes (seq null) ends the shell", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  const pid = Number(await shell.run("echo $$"));
  node.channel.setStatus(shell.id, "closed");
  shell.type("echo anybody\n");
  await until("the shell is gone", () => !alive(pid));
  await until("it is forgotten", () => node.terminals.active().length === 0);
});

test("a second start of a live session changes nothing", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  node.channel.push("terminal.start", { sessionId: shell.id, cols: 80, rows: 24 });
  node.channel.push("terminal.start", { sessionId: shell.id, cols: 1 });
  expect(await shell.run("echo still here")).toBe("still here");
  expect(node.channel.of("terminal.error", shell.id)).toEqual([]);
});

test("a malformed start with a session is answered, one without is not", async () => {
  await using node = terminalNode();
  const sessionId = randomUUID();
  for (const body of [undefined, null, 7, "x", {}, { sessionId: "no" }, { sessionId, cols: 500 }])
    node.channel.push("terminal.start", body as object);
  await until("the answer", () => node.channel.of("terminal.error", sessionId).length > 0);
  expect(String(node.channel.of("terminal.error", sessionId)[0]?.["message"])).toContain("cols");
  expect(node.channel.sent).toHaveLength(1);
});

test("refusals name what refuses", async () => {
  const cases = [
    [{ settings: { allow_terminal: false } }, {}, "allow_terminal"],
    [{ settings: { max_terminals: 0 } }, {}, "max_terminals"],
    [{ profile: "task" }, { runAsRoot: true }, 'profile in force on this node is "task"'],
    [{ profile: "off", veto: "the owner said no" }, { runAsRoot: true }, "the owner said no"],
  ] as const;
  for (const [options, body, words] of cases) {
    await using node = terminalNode(options);
    const { id } = node.start(body);
    await until("the refusal", () => node.channel.status(id) === "failed");
    expect(String(node.channel.of("terminal.error", id)[0]?.["message"])).toContain(words);
  }
});

test("a root terminal ends with the profile that allowed it, and says why; others go on", async () => {
  await using node = terminalNode({ profile: "task_terminal" });
  const root = await node.open({ runAsRoot: true });
  const user = await node.open();
  const pid = Number(await root.run("echo $$"));
  node.setProfile("terminal");
  expect(await root.run("echo still here")).toBe("still here");
  node.setProfile("task");
  expect(await root.exited()).toMatchObject({
    reason: 'Root access was withdrawn: the root access profile of this node is now "task".',
  });
  expect(alive(pid)).toBe(false);
  expect(await user.run("echo still here")).toBe("still here");
});

test("where no shell can be started, the control plane hears why", async () => {
  const account = { ...user, shell: "/no/such/shell" };
  await using node = terminalNode({
    runners: {
      task: { account, shell: () => ["/bin/false"], mayGain: true },
      root: runnerFor(user),
    },
  });
  const { id } = node.start();
  await until("the error", () => node.channel.status(id) === "failed");
  expect(String(node.channel.of("terminal.error", id)[0]?.["message"])).toContain("does not start");
});

test("events about an unknown session are answered by its end, not with every keystroke", async () => {
  await using node = terminalNode();
  const id = randomUUID();
  node.channel.setStatus(id, "open");
  for (let n = 0; n < 20; n++) node.channel.push("terminal.input", { sessionId: id, payload: "eA==" });
  node.channel.push("terminal.resize", { sessionId: id, cols: 80, rows: 24 });
  node.channel.push("terminal.stop", { sessionId: id, reason: null });
  await until("the end", () => node.channel.of("terminal.exited", id).length > 0);
  await node.open(); // Whatever was to be sent for the unknown one has been sent before.
  expect(node.channel.sent.filter(({ body }) => body.sessionId === id)).toMatchObject([
    { event: "terminal.exited", body: { exitCode: null } },
  ]);
});

test("a terminal nobody uses is ended, and so is one that is too old", async () => {
  await using node = terminalNode({ settings: { terminal_idle_limit: 400 } });
  const idle = node.start();
  expect(await idle.exited()).toMatchObject({ reason: expect.stringContaining("not used for") });
  await using other = terminalNode({ settings: { terminal_max_length: 600 } });
  const old = other.start();
  const busy = setInterval(() => old.type("\n"), 50);
  expect(await old.exited()).toMatchObject({ reason: expect.stringContaining("the longest") });
  clearInterval(busy);
});

test("input of any form: only base64 within the limit is typed, in order", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  for (const payload of ["*", "YQ==YQ==", "A".repeat(32_772), 7, null, {}])
    node.channel.push("terminal.input", { sessionId: shell.id, payload });
  const words = Array.from({ length: 2_000 }, (_, n) => `word${n}`);
  shell.type("stty -echo; echo be''gin; cksum\n");
  await shell.sees("begin\r\n");
  for (const word of words) shell.type(`${word}\n`);
  shell.type("\x04");
  const sum = Bun.spawnSync(["cksum"], { stdin: Buffer.from(words.map((word) => `${word}\n`).join("")) });
  await shell.sees(sum.stdout.toString().trim().replace(/ -$/, ""));
});

test("a paste of 300 kB arrives whole; one into a program that does not read is refused aloud, until it reads", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  shell.type("stty raw -echo; echo go; head -c 300000 | cksum; stty sane; echo re''cked\n");
  await shell.sees("go\n");
  const paste = "0123456789abcdef".repeat(300_000 / 16);
  for (let at = 0; at < paste.length; at += 24_000) shell.type(paste.slice(at, at + 24_000));
  const sum = Bun.spawnSync(["cksum"], { stdin: Buffer.from(paste) });
  await shell.sees(sum.stdout.toString().split(" ")[0] ?? "");
  await shell.sees("recked");
  using directory = scratchDirectory();
  chmodSync(directory.path, 0o755);
  const signal = directory.at("read");
  shell.type(
    `stty raw -echo; echo stuck; until [ -e ${signal} ]; do sleep 0.05; done; while :; do head -c 6000 | tail -c 3; done\n`,
  );
  await shell.sees("stuck\n");
  for (let n = 0; n < 60; n++) shell.type("x".repeat(24_000));
  await shell.sees("was thrown away");
  shell.resize(66, 33);
  writeFileSync(signal, "");
  await shell.sees("xxx");
  await until("a paste is taken again", () => {
    shell.type("y".repeat(6_000));
    return shell.text().includes("yyy");
  });
  shell.stop();
  await shell.exited();
});

test("what is typed before the shell runs arrives; excess input is dropped with a notice, and the shell stays", async () => {
  const slow = Promise.withResolvers<undefined>();
  await using node = terminalNode({ loadFlow: () => slow.promise });
  const shell = node.start();
  for (let n = 0; n < 70; n++) shell.type(`: ; echo got-''${n}-\n`);
  slow.resolve(undefined);
  await shell.sees("got-63-\r\n");
  await shell.sees("was thrown away");
  expect(shell.text().split("was thrown away")).toHaveLength(2);
  expect(await shell.run("echo on")).toBe("on");
  expect(shell.text()).not.toContain("got-64-");
});

test("ten terminals that are stopped together share each list of the processes", async () => {
  let looks = 0;
  let asked = 0;
  const shared = sharedProcessTable(TERMINAL_MARKER, (name) => {
    looks++;
    return readProcessTable(name);
  });
  const listProcesses = (): ReturnType<typeof shared> => {
    asked++;
    return shared();
  };
  await using node = terminalNode({ listProcesses });
  const shells = await Promise.all(Array.from({ length: 10 }, () => node.open()));
  for (const shell of shells) shell.stop();
  await Promise.all(shells.map((shell) => shell.exited()));
  expect(asked).toBeGreaterThanOrEqual(20);
  expect(looks).toBeLessThanOrEqual(asked / 2);
});

test("twenty terminals at once are independent", async () => {
  await using node = terminalNode();
  const shells = await Promise.all(Array.from({ length: 20 }, () => node.open()));
  const answers = await Promise.all(shells.map((shell, n) => shell.run(`echo i am ${n}`)));
  expect(answers).toEqual(shells.map((_, n) => `i am ${n}`));
  shells[3]?.stop();
  await shells[3]?.exited();
  expect(await shells[4]?.run("echo alive")).toBe("alive");
});

test("fifty terminals one after another leave no descriptor", async () => {
  await using node = terminalNode();
  const first = node.start();
  first.type("");
  await until("it runs", () => node.channel.status(first.id) === "open");
  first.stop();
  await first.exited();
  const before = openTerminals();
  for (let n = 0; n < 50; n++) {
    const shell = node.start();
    await until("it opens", () => node.channel.status(shell.id) === "open");
    shell.type("exit\n");
    await shell.exited();
  }
  await until("nothing is left", () => openTerminals() <= before);
});

test("the log has one line for the start, with its mode, one for the end, and nothing that was typed", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  await shell.run("echo pass''word");
  shell.type("exit 3\n");
  await shell.exited();
  const lines = node.log.filter((line) => line.includes(shell.id));
  expect(lines).toHaveLength(2);
  expect(lines[0]).toContain('"mode":"pty+ctty"');
  expect(node.log.join("\n")).not.toContain("pass");
});

test.skipIf(!isRoot())(
  "a root terminal is root, in one of three shells, and a stop ends all of it (needs root)",
  async () => {
    await using node = terminalNode({ profile: "terminal" });
    const shell = await node.open({ runAsRoot: true });
    expect(await shell.run("id -u; echo mine > $(tty)")).toBe("0\nmine");
    expect(node.terminals.active()).toMatchObject([{ account: "root", root: true }]);
    // Root's, and what a root shell has started as somebody else.
    const sleeper = "sh -c 'echo @$$; exec sleep 300 >/dev/null 2>&1'";
    shell.type(`setsid ${sleeper} & setpriv --reuid 65534 ${sleeper} & echo @$$\n`);
    const printedPids = (): number[] => [...shell.text().matchAll(/@(\d+)\r/g)].map(([, pid]) => Number(pid));
    await until("all three run", () => printedPids().length === 3);
    const pids = printedPids();
    expect(pids.filter(alive)).toHaveLength(3);
    shell.stop();
    await shell.exited();
    expect(pids.filter(alive)).toEqual([]);
  },
);

test.skipIf(!isRoot())(
  "a user's terminal has that user's groups and no capability (needs root)",
  async () => {
    await using node = terminalNode();
    const shell = await node.open();
    const nobody = findAccount("nobody");
    expect(await shell.run("id -u; id -G; grep CapEff /proc/self/status")).toBe(
      `${nobody?.uid}\n${nobody?.gid}\nCapEff:\t0000000000000000`,
    );
  },
);

test("within the grace, the stop of the agent ends every terminal and tells of it", async () => {
  const node = terminalNode();
  const shells = await Promise.all([node.open(), node.open()]);
  const pids = await Promise.all(shells.map((shell) => shell.run("echo $$").then(Number)));
  await node.terminals.stop(seconds(5));
  expect(pids.filter(alive)).toEqual([]);
  for (const shell of shells)
    expect(node.channel.of("terminal.exited", shell.id)).toMatchObject([{ reason: "the agent was stopped" }]);
  const late = node.start();
  await turn();
  expect(node.channel.status(late.id)).not.toBe("open");
  expect(node.channel.of("terminal.opened", late.id)).toEqual([]);
});
