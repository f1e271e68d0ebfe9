// Terminals while the session, the control plane or the agent itself goes away and comes back.
import { readFileSync } from "node:fs";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { seconds } from "../../src/lib/duration.ts";
import { type AgentNode, NODE, TEST_LIMIT, enrolledAgent, enrolledProcess } from "../support/agent.ts";
import { isAlive } from "../support/processes.ts";
import { until } from "../support/until.ts";
import { alerts } from "../support/session.ts";
import { isConnected, opens } from "../support/terminal.ts";

setDefaultTimeout(TEST_LIMIT);

const QUICK = { terminal_kill_grace: "400ms" };
/** A heartbeat may put it online again at once. */
const wentOffline = (node: AgentNode): Promise<void> =>
  until("the control plane knows that the socket is gone", () => alerts(node) > 0);

describe.concurrent("a socket that is cut", () => {
  test("in the middle of output loses nothing, and repeats only the frame whose ack was lost", async () => {
    await using node = await enrolledAgent({ sandbox: { timings: { transcriptLimit: 1e8 } } });
    using shell = await opens(node);
    let frames = 0;
    let cuts = 0;
    using _watch = node.sandbox.watchTerminal(shell.id, (event) => {
      if (event.kind !== "chunk" || event.chunk.direction === "input") return;
      // The chunk is in the transcript, its ack will never leave.
      if (++frames === 5 || frames === 20) cuts += node.sandbox.disconnect(NODE);
    });
    shell.types("seq 1 300000; exit\n");
    expect(await shell.ends()).toMatchObject({ exit_code: 0 });
    expect(cuts).toBe(2);
    const all = shell.frames();
    const repeated = all.filter((frame, index) => all[index - 1]?.equals(frame));
    expect(repeated.length).toBe(cuts);
    const text = Buffer.concat(all.filter((frame, index) => !all[index - 1]?.equals(frame))).toString();
    const wanted = Array.from({ length: 300_000 }, (_, index) => `${index + 1}\n`).join("") + "exit\n";
    expect(text === wanted).toBe(true);
  });

  test("lets the shell go on; its output and its end are reported afterwards", async () => {
    await using node = await enrolledAgent();
    using shell = await opens(node);
    const proof = node.file("proof");
    shell.types(`sleep 0.3; echo mean''while; echo yes > ${proof.path}; exit 5\n`);
    node.sandbox.setFaults({ websocketBlocked: true });
    node.sandbox.disconnect(NODE);
    await proof.appears();
    expect(shell.document.status).toBe("open");
    expect(shell.text()).not.toContain("meanwhile");
    node.sandbox.setFaults({ websocketBlocked: false });
    expect(await shell.ends()).toMatchObject({ exit_code: 5 });
    expect(shell.text()).toContain("meanwhile\n");
  });

  test.each(["types", "changes the window"])("while the operator %s ends the shell", async (what) => {
    await using node = await enrolledAgent({ settings: QUICK });
    using shell = await opens(node);
    using other = await opens(node);
    node.sandbox.setFaults({ websocketBlocked: true });
    node.sandbox.disconnect(NODE);
    await wentOffline(node);
    if (what === "types") shell.types("echo lost\n");
    else node.sandbox.resizeTerminal(shell.id, 100, 40);
    expect((await shell.ends("failed")).closed_reason).toStartWith("Agent route was unavailable while");
    expect(shell.processes()).not.toEqual([]);
    node.sandbox.setFaults({ websocketBlocked: false });
    // It writes nothing of which the ack could say so.
    await shell.isGone();
    expect(await other.runs("echo still here")).toBe("still here");
  });

  test("while the operator stops the terminal ends the shell, too", async () => {
    await using node = await enrolledAgent({
      settings: QUICK,
      sandbox: { timings: { terminalStopLimit: seconds(1) } },
    });
    using shell = await opens(node);
    node.sandbox.setFaults({ websocketBlocked: true });
    node.sandbox.disconnect(NODE);
    await wentOffline(node);
    node.sandbox.stopTerminal(shell.id, "gone fishing");
    expect((await shell.ends()).closed_reason).toBe("gone fishing");
    node.sandbox.setFaults({ websocketBlocked: false });
    await shell.isGone();
  });
});

test("a control plane whose database is down for a moment keeps its terminals, and hears of their ends", async () => {
  await using node = await enrolledAgent();
  using shell = await opens(node);
  using ending = await opens(node);
  await shell.runs("here=still");
  node.sandbox.setFaults({ databaseDown: true });
  shell.types("echo mean''while\n");
  ending.types("exit 6\n");
  const refused = (): string[] =>
    node.log.filter((line) => line.includes("ECONNREFUSED") && line.includes("terminal.output"));
  await until("output of both was refused", () => refused().length >= 2);
  await ending.waits("its shell is gone", () => ending.processes().length === 0);
  expect([shell, ending].map(({ document }) => document.status)).toEqual(["open", "open"]);
  node.sandbox.setFaults({ databaseDown: false });
  await shell.shows("meanwhile");
  expect(await shell.runs("echo $here")).toBe("still");
  expect(await ending.ends()).toMatchObject({ exit_code: 6, closed_reason: null });
});

test("a control plane that is restarted finds its terminals again", async () => {
  await using node = await enrolledAgent();
  using shell = await opens(node);
  await shell.runs("here=still");
  await node.plane.goesAway();
  await node.plane.comesBack();
  await isConnected(node, 2);
  expect(await shell.runs("echo $here")).toBe("still");
});

describe.concurrent("an agent", () => {
  test("that is killed and started again ends what it left, and says so", async () => {
    await using node = await enrolledProcess({ settings: QUICK });
    using shell = await opens(node);
    const said = await shell.runs("setsid sh -c 'trap \"\" HUP; echo $$; exec sleep 300' & sleep 0.3");
    const [left = "none"] = /^\d+$/m.exec(said) ?? [];
    expect(isAlive(left)).toBe(true);
    await node.dies();
    expect(shell.document.status).toBe("open");
    await node.starts();
    const { closed_reason: reason, exit_code: code } = await shell.ends();
    expect({ reason, code }).toEqual({
      reason: "the agent was restarted, and the terminal with it",
      code: null,
    });
    expect(isAlive(left)).toBe(false);
    expect(shell.processes()).toEqual([]);
    using next = await opens(node);
    expect(await next.runs("echo welcome back")).toBe("welcome back");
  });

  test("that is killed and started again without a realtime session ends what it left, too", async () => {
    await using node = await enrolledProcess({ settings: QUICK });
    using shell = await opens(node);
    // One that the hang-up by the kernel does not reach.
    await shell.runs("setsid sh -c 'trap \"\" HUP; echo $$; exec sleep 300' & sleep 0.3");
    await node.dies();
    expect(shell.processes()).not.toEqual([]);
    const settings = JSON.parse(readFileSync(node.configFile, "utf8")) as Record<string, unknown>;
    node.configures({ ...settings, realtime_enabled: false });
    await node.starts();
    await shell.isGone();
    await node.dies();
    // Told as soon as there is a session again.
    node.configures(settings);
    await node.starts();
    expect((await shell.ends()).closed_reason).toContain("the agent was restarted");
  });

  test("that lost its memory answers for a terminal it does not know", async () => {
    await using node = await enrolledProcess();
    using shell = await opens(node);
    await node.dies();
    node.edits((database) => database.run("DELETE FROM terminals"));
    await node.starts();
    await isConnected(node);
    shell.types("anybody there?\n");
    expect((await shell.ends()).closed_reason).toContain("not running any more");
  });

  test("that is stopped ends its terminals and tells so before it leaves", async () => {
    await using node = await enrolledProcess({ settings: QUICK });
    using shell = await opens(node);
    using busy = await opens(node);
    busy.types("trap '' HUP TERM; echo dea''f; while :; do sleep 0.05; done\n");
    await busy.shows("deaf");
    expect(await node.ends()).toBe(0);
    // Nothing is waited for: the agent is gone.
    for (const one of [shell, busy]) {
      expect(one.document).toMatchObject({ status: "closed", closed_reason: "the agent was stopped" });
      expect(one.document.exit_code).not.toBeNull();
      expect(one.processes()).toEqual([]);
    }
  });
});
