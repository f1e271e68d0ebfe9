// A terminal that is stopped, or that the control plane has given up, leaves nothing behind.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { milliseconds } from "../../src/lib/duration.ts";
import { TEST_LIMIT, enrolledAgent } from "../support/agent.ts";
import { isAlive } from "../support/processes.ts";
import { until } from "../support/until.ts";
import { asks, isConnected, opens } from "../support/terminal.ts";

setDefaultTimeout(TEST_LIMIT);

const QUICK = { terminal_kill_grace: "400ms" };

describe.concurrent("a terminal that is stopped", () => {
  test("ends with its reason, and with all that was to outlive it", async () => {
    await using node = await enrolledAgent({ settings: QUICK });
    using shell = await opens(node);
    const stubborn = "sh -c 'trap \"\" HUP TERM INT; while :; do sleep 0.1; done'";
    const pids = await shell.runs(
      [
        "nohup sleep 300 >/dev/null 2>&1 & echo $!",
        "sleep 300 & disown; echo $!",
        "sleep 300 & kill -STOP $!; echo $!",
        `${stubborn} & echo $!`,
        "setsid sh -c 'echo $$; exec sleep 300'",
      ]
        .map((line, index) => (index === 4 ? `{ ${line} & } ; sleep 0.3` : line))
        .join("; "),
    );
    const started = [...pids.matchAll(/^\d+$/gm)].map(([pid]) => pid);
    expect(started.filter(isAlive)).toHaveLength(5);
    node.sandbox.stopTerminal(shell.id, "enough for today");
    const { closed_reason: reason, exit_code: code } = await shell.ends();
    expect({ reason, code: typeof code }).toEqual({ reason: "enough for today", code: "number" });
    // The end is told when it is the end: nobody has to be waited for any more.
    expect(started.filter(isAlive)).toEqual([]);
    expect(shell.processes()).toEqual([]);
  });

  test("lets its program say goodbye, and what that says arrives", async () => {
    await using node = await enrolledAgent({ settings: { terminal_kill_grace: "5s" } });
    using shell = await opens(node);
    const farewell = "for i in 1 2 3 4 5 6; do sleep 0.1; done; echo good''bye; exit 4";
    const { path: script } = node.file("program");
    writeFileSync(script, `trap "${farewell}" HUP\necho ready\nwhile :; do sleep 0.05; done\n`);
    shell.types(`exec bash ${script}\n`);
    await shell.shows("ready");
    node.sandbox.stopTerminal(shell.id);
    expect(await shell.ends()).toMatchObject({ exit_code: 4 });
    expect(shell.text()).toContain("goodbye");
  });

  test("in the middle of a flood ends within the time the control plane waits", async () => {
    await using node = await enrolledAgent({
      settings: QUICK,
      sandbox: { timings: { transcriptLimit: 1e9 } },
    });
    using shell = await opens(node);
    shell.types("yes\n");
    await shell.waits("it floods", () => shell.bytes().length > 300_000);
    node.sandbox.stopTerminal(shell.id);
    // After 10 s the control plane would have closed it without a code.
    expect((await shell.ends()).exit_code).not.toBeNull();
    await shell.isGone();
  });

  test("before its shell runs never opens", async () => {
    await using node = await enrolledAgent({ settings: QUICK });
    await isConnected(node);
    using shell = asks(node);
    node.sandbox.stopTerminal(shell.id, "changed my mind");
    const { closed_reason: reason, opened_at: opened } = await shell.ends();
    expect({ reason, opened }).toEqual({ reason: "changed my mind", opened: null });
    await shell.isGone();
  });
});

describe.concurrent("a terminal that the control plane has given up", () => {
  test("because it was opened too late is ended, and does not come back", async () => {
    await using node = await enrolledAgent({
      settings: QUICK,
      sandbox: {
        timings: { terminalOpenLimit: milliseconds(300) },
        faults: { delay: milliseconds(900), routes: ["realtime.terminal.opened"] },
      },
    });
    await isConnected(node);
    using shell = asks(node);
    await shell.waits("its shell runs", () => shell.processes().length > 0);
    await shell.ends("failed");
    await shell.isGone();
    expect(shell.document).toMatchObject({ status: "failed", exit_code: null });
    await until("the agent has no terminal", () => node.agent.status().noderax?.terminals?.length === 0);
  });

  test("because its transcript is full is ended with that reason", async () => {
    await using node = await enrolledAgent({
      settings: QUICK,
      sandbox: { timings: { transcriptLimit: 200_000 } },
    });
    using shell = await opens(node);
    shell.types("yes\n");
    expect((await shell.ends()).closed_reason).toBe("transcript-overflow");
    expect(shell.bytes().length).toBeLessThanOrEqual(200_000);
    await shell.isGone();
  });
});
