// The session with the control plane comes and goes, the agent too: nothing is lost, nothing stays open.
import { expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, existsSync } from "node:fs";
import { AgentError } from "../../../src/lib/agent-error.ts";
import { seconds } from "../../../src/lib/duration.ts";
import { openDatabase } from "../../../src/platform/database.ts";
import { terminalMigration } from "../../../src/terminal/session-store.ts";
import { anotherMegabyte, until } from "../../support/until.ts";
import { silent } from "../../../src/platform/log.ts";
import { endStaleSessions } from "../../../src/terminal/terminals.ts";
import { scratchDirectory } from "../identity/scratch.ts";
import { alive, terminalNode } from "./harness.ts";

setDefaultTimeout(150_000);

test("a shell survives the loss of the session; what it wrote meanwhile arrives", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  using directory = scratchDirectory();
  chmodSync(directory.path, 0o777);
  node.channel.goOffline();
  shell.type(`echo mean''while; : >${directory.at("written")}\n`);
  await until("it is written", () => existsSync(directory.at("written")));
  await anotherMegabyte();
  expect(shell.text()).not.toContain("meanwhile\r\n");
  node.channel.goOnline();
  await shell.sees("meanwhile\r\n");
  expect(await shell.run("echo again")).toBe("again");
});

test("a frame whose ack was lost is sent again, and none is lost", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  let lost = 0;
  node.channel.loseAck = ({ event }) => event === "terminal.output" && lost < 2 && ++lost > 0;
  shell.type("seq -s, 3000; echo do''ne\n");
  await shell.sees("done\r\n");
  const frames = node.channel.frames(shell.id).map(String);
  const repeated = frames.filter((frame, k) => k > 0 && frame === frames[k - 1]);
  expect(lost).toBe(2);
  expect(repeated.length).toBeGreaterThan(0);
  expect(shell.text()).toContain("1,2,3,");
  expect(shell.text()).toContain("2999,3000");
});

test("output during a long outage is bounded: the program is held, and nothing is skipped (needs FFI)", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  using directory = scratchDirectory();
  chmodSync(directory.path, 0o777);
  const numbered = "seq 1 1000000 | tail -c 3000000";
  const begun = directory.at("begun");
  node.channel.goOffline();
  const before = process.memoryUsage.rss();
  shell.type(`${numbered} | cksum; : >${begun}; ${numbered}; echo do''ne\n`);
  await until("it begins to write", () => existsSync(begun));
  for (let rounds = 0; rounds < 10; rounds++) await anotherMegabyte();
  expect(process.memoryUsage.rss() - before).toBeLessThan(50_000_000);
  node.channel.goOnline();
  await shell.sees("done\r\n");
  expect(shell.text()).not.toContain("skipped");
  const lines = shell.text().split("\r\n");
  const numbers = lines.map(Number).filter((n) => n > 600_000 && n <= 1_000_000);
  expect(numbers.slice(1).every((n, k) => n === (numbers[k] ?? 0) + 1)).toBe(true);
  expect(numbers.at(-1)).toBe(1_000_000);
});

test("without flow control, what is too much is skipped, and the output says so", async () => {
  await using node = terminalNode({ loadFlow: () => Promise.resolve(undefined) });
  const shell = await node.open();
  node.channel.goOffline();
  using directory = scratchDirectory();
  chmodSync(directory.path, 0o777);
  shell.type(`seq 1 400000; echo do''ne; : >${directory.at("written")}\n`);
  await until("all of it is written", () => existsSync(directory.at("written")));
  node.channel.goOnline();
  await shell.sees("done\r\n");
  expect(shell.text()).toMatch(/\[… [\d.]+ MB of output skipped …\]/);
  expect(shell.text()).toContain("\r\n400000\r\n");
});

test("an end during an outage is reported after it, with its code, behind the last output", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  node.channel.goOffline();
  shell.type("echo fare''well; exit 5\n");
  await until("the shell ended", () => node.log.some((line) => line.includes("ended after")));
  expect(node.channel.of("terminal.exited", shell.id)).toEqual([]);
  node.channel.goOnline();
  expect(await shell.exited()).toMatchObject({ exitCode: 5 });
  expect(shell.text()).toContain("farewell\r\n");
});

test("an answer that makes no sense is asked for again, but not for ever", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  const pid = Number(await shell.run("echo $$"));
  let strange = 0;
  node.channel.fault = ({ event }) => {
    if (event === "terminal.output" && strange++ < 1) throw new AgentError("realtime.answer", "what?");
  };
  expect(await shell.run("echo on")).toBe("on");
  node.channel.fault = ({ event }) => {
    if (event === "terminal.output") throw new AgentError("realtime.answer", "what?");
  };
  shell.type("echo off\n");
  await until("the shell is gone", () => !alive(pid), seconds(15));
});

test("what the control plane cannot take just now is sent again, also the end; a refusal that stands ends the shell", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  const pid = Number(await shell.run("echo $$"));
  let ill = 2;
  node.channel.refuse = ({ event }) =>
    event === "terminal.output" && ill-- > 0 ? "connect ECONNREFUSED 10.0.0.5:5432" : undefined;
  expect(await shell.run("echo on")).toBe("on");
  expect([ill <= 0, alive(pid)]).toEqual([true, true]);
  ill = 2;
  node.channel.refuse = ({ event }) =>
    event === "terminal.exited" && ill-- > 0 ? "connect ECONNREFUSED 10.0.0.5:5432" : undefined;
  shell.type("exit 4\n");
  await until("the end is known", () => node.channel.status(shell.id) === "closed");
  expect(node.channel.of("terminal.exited", shell.id).at(-1)).toMatchObject({ exitCode: 4 });

  const other = await node.open();
  const otherPid = Number(await other.run("echo $$"));
  node.channel.refuse = () => "Bad Request Exception";
  other.type("echo off\n");
  await until("the shell is gone", () => !alive(otherPid));
});

test.each(["terminal.opened", "terminal.output"])(
  "a %s that is refused for good ends the shell, and its end is told all the same",
  async (event) => {
    await using node = terminalNode();
    node.channel.refuse = (sent) => (sent.event === event ? "Bad Request Exception" : undefined);
    const shell = node.start();
    shell.type("echo one\n");
    expect(await shell.exited()).toMatchObject({ reason: expect.stringContaining("control plane") });
    await until("it is known", () => node.channel.status(shell.id) === "closed");
  },
);

test("an end is not reported to a control plane without such a session", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  node.channel.refuse = ({ body }) => `Terminal session ${body.sessionId} was not found.`;
  shell.type("echo anybody\n");
  await until("it is forgotten", () => rows(node.database) === 0);
  expect(node.channel.of("terminal.exited", shell.id)).toEqual([]);
});

test("without a session at all, stale sessions are ended, and their report is left for later", async () => {
  const database = openDatabase(":memory:", [terminalMigration]);
  const first = terminalNode({ database });
  const shell = await first.open();
  const pid = Number(await shell.run("echo $$"));
  first.channel.goOffline();
  await endStaleSessions({ database, log: silent, grace: seconds(1) });
  expect(alive(pid)).toBe(false);
  await first.terminals.stop(seconds(1));

  await using second = terminalNode({ database });
  second.channel.setStatus(shell.id, "open");
  second.terminals.resume();
  await until("it is told", () => second.channel.status(shell.id) === "closed");
});

test("after a crash of the agent, the next one ends what was left and tells of it until it is heard", async () => {
  const database = openDatabase(":memory:", [terminalMigration]);
  const first = terminalNode({ database });
  const shell = await first.open();
  const pids = [
    await shell.run("echo $$"),
    await shell.run("setsid --wait sh -c 'echo $$; exec sleep 300 >/dev/null 2>&1' & sleep 0.2"),
  ].map((output) => Number(/\d+$/m.exec(output.replaceAll(/^\[.*$/gm, "").trim())?.[0]));
  expect(pids.filter(alive)).toHaveLength(2);
  // The first agent hears and says nothing any more; that its processes are still its children changes nothing.
  first.channel.goOffline();

  const second = terminalNode({ database });
  second.channel.setStatus(shell.id, "open");
  second.channel.goOffline();
  second.terminals.resume();
  await until("nothing runs", () => pids.filter(alive).length === 0);
  second.channel.goOnline();
  await until("it is told", () => second.channel.of("terminal.exited", shell.id).length > 0);
  expect(second.channel.of("terminal.exited", shell.id)).toMatchObject([
    { exitCode: null, reason: expect.stringContaining("restarted") },
  ]);
  await until("it is forgotten", () => rows(database) === 0);
  await second.terminals.stop(seconds(1));
  await first.terminals.stop(seconds(1));
});

test("an unreported end is reported by the next agent unchanged", async () => {
  const database = openDatabase(":memory:", [terminalMigration]);
  const first = terminalNode({ database });
  const shell = await first.open();
  first.channel.goOffline();
  shell.type("exit 9\n");
  await until("the shell ended", () => first.log.some((line) => line.includes("ended after")));
  await first.terminals.stop(seconds(1));
  expect(rows(database)).toBe(1);

  await using second = terminalNode({ database });
  second.channel.setStatus(shell.id, "open");
  second.terminals.resume();
  await until("it is told", () => second.channel.of("terminal.exited", shell.id).length > 0);
  expect(second.channel.of("terminal.exited", shell.id)).toMatchObject([{ exitCode: 9 }]);
  await until("it is forgotten", () => rows(database) === 0);
});

test("a session is on disk before its shell runs, and not after its end was heard", async () => {
  await using node = terminalNode();
  const shell = node.start();
  expect(rows(node.database)).toBe(1);
  await until("it opens", () => node.channel.status(shell.id) === "open");
  shell.stop();
  await shell.exited();
  await until("it is forgotten", () => rows(node.database) === 0);
});

test("a disk that takes nothing does not keep anybody out", async () => {
  await using node = terminalNode();
  node.database.run("DROP TABLE terminals");
  const shell = await node.open();
  expect(await shell.run("echo in")).toBe("in");
});

test("an agent that is stopped while offline does not wait for the control plane", async () => {
  const node = terminalNode();
  const shell = await node.open();
  const pid = Number(await shell.run("echo $$"));
  node.channel.goOffline();
  const begin = performance.now();
  await node.terminals.stop(seconds(20));
  expect(performance.now() - begin).toBeLessThan(seconds(10));
  expect(alive(pid)).toBe(false);
});

const rows = (database: ReturnType<typeof openDatabase>): number =>
  database.query<{ n: number }, []>("SELECT count(*) AS n FROM terminals").get()?.n ?? 0;
