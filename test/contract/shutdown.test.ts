// The agent is stopped: what is owed goes out, what runs goes on, and the next agent takes it up.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { TEST_LIMIT, enrolledAgent, enrolledProcess } from "../support/agent.ts";
import { cpuTime } from "../support/cpu-time.ts";
import { isAlive } from "../support/processes.ts";
import { elapse, until } from "../support/until.ts";

setDefaultTimeout(TEST_LIMIT);

const SHORT_LEASE = { timings: { claimLease: 1_000, sweepInterval: 100 } };

describe.concurrent("SIGTERM", () => {
  test("ends the agent and not its task, which the next agent finishes", async () => {
    await using node = await enrolledProcess({
      settings: { shutdown_timeout: "4s", task_poll_interval: "1s" },
    });
    const { path: go } = node.file("go");
    const task = node.runs(
      `echo $$ > ${node.file("pid").path}; echo 1; while [ ! -e ${go} ]; do sleep 0.05; done; echo 2`,
    );
    const pid = await node.file("pid").appears();
    await task.shows("1");
    const begun = performance.now();
    expect(await node.ends("SIGTERM")).toBe(0);
    expect(performance.now() - begun).toBeLessThan(25_000);
    expect(isAlive(pid)).toBe(true);
    expect(task.document().status).toBe("running");
    await Bun.write(go, "");
    await until("the command is over without an agent", () => !isAlive(pid));
    await node.starts();
    await task.finishes("success");
    expect(task.text()).toBe("1\n2");
  });

  test("loses no task that comes in the last moment", async () => {
    // Where the machine is too busy for the second that the claim has, the lease brings it back.
    await using node = await enrolledProcess({
      watched: true,
      sandbox: SHORT_LEASE,
      settings: { task_poll_interval: "2s" },
    });
    await until("a claim is open", () => node.gateway.count("claim") > 0);
    await until("it listens", () => node.log.some((line) => line.includes("started")));
    const ended = node.ends("SIGTERM");
    await until("it is stopping", () => node.log.some((line) => line.includes("SIGTERM")));
    const task = node.runs("echo in the last moment");
    expect(await ended).toBe(0);
    await node.starts();
    await task.finishes("success");
    expect(task.text()).toBe("in the last moment");
  });

  test("gives up a long claim after a second, and the next agent waits until the server has, too", async () => {
    await using node = await enrolledProcess({ watched: true, settings: { task_poll_interval: "9s" } });
    await until("a claim is open", () => node.gateway.count("claim") === 1);
    const [first] = node.gateway.seen.filter(({ route }) => route === "claim");
    await node.isOnline();
    const begun = performance.now();
    expect(await node.ends("SIGTERM")).toBe(0);
    expect(performance.now() - begun).toBeLessThan(5_000);
    await node.starts();
    await node.statusBecomes("says so", ({ loops }) =>
      loops.some(({ note }) => note === "waiting until an unanswered claim is over on the server"),
    );
    await until("a second claim", () => node.gateway.count("claim") > 1);
    const second = node.gateway.seen.filter(({ route }) => route === "claim")[1];
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(9_000);
  });

  test("within shutdown_timeout, also when the server does not answer", async () => {
    await using node = await enrolledProcess({
      settings: { shutdown_timeout: "1s", task_poll_interval: "30s" },
    });
    await node.isOnline();
    const begun = performance.now();
    expect(await node.ends("SIGTERM")).toBe(0);
    expect(performance.now() - begun).toBeLessThan(25_000);
  });

  test("waits for reports that are under way", async () => {
    await using node = await enrolledProcess({
      watched: true,
      settings: { shutdown_timeout: "15s", task_poll_interval: "500ms" },
    });
    node.gateway.interfere(async (route, forward) => {
      if (route === "logs" || route === "completed") await elapse(1_000);
      return forward();
    });
    const task = node.runs("echo 1");
    await until("its row is under way", () => node.gateway.count("logs") > 0);
    expect(await node.ends("SIGTERM")).toBe(0);
    expect(task.document().status).toBe("success");
    expect(task.text()).toBe("1");
  });

  test("ends an agent that is not enrolled yet", async () => {
    await using node = await enrolledProcess({ enrolled: false });
    await node.status();
    expect(await node.ends("SIGTERM")).toBe(0);
  });
});

describe.concurrent("a stop in a hurry", () => {
  test("a stop that cuts the last rows short leaves the note about held output for the next agent, once", async () => {
    await using node = await enrolledAgent({ watched: true });
    node.gateway.interfere(async (route, forward) => {
      if (route === "logs") await elapse(400);
      return forward();
    });
    const task = node.runs("seq 1 3000; sleep 300 &");
    await until("its rows are under way", () => node.gateway.count("logs") > 1);
    await until("the drain is over", () => node.gateway.count("logs") > 2);
    await node.stops(0);
    node.gateway.interfere(undefined);
    await node.starts();
    await task.finishes("success");
    const notes = task.rows().filter(({ level }) => level === "info");
    expect(notes).toHaveLength(1);
    expect(task.rows().at(-1)?.line).toContain("output still held open by");
    expect(task.text("stdout").split("\n")).toEqual(Array.from({ length: 3_000 }, (_, i) => String(i + 1)));
  });
});

test("an agent that waits for a command's last output stops without using the processor meanwhile", async () => {
  await using node = await enrolledAgent();
  const task = node.runs("sleep 300 &");
  await until("the command has ended", () => task.hasExited());
  const used = cpuTime();
  await node.stops(0);
  // The wait is 2 s long.
  expect(used()).toBeLessThan(250);
});

describe.concurrent("one state directory, one agent:", () => {
  test("a second one is refused, and does no harm to the first", async () => {
    await using node = await enrolledProcess();
    await node.status();
    const { pid } = node;
    await node.starts();
    expect(await node.exits()).toBe(1);
    expect(node.log.join("")).toContain(`an agent with this state directory runs already (pid ${pid})`);
    await node.runs("true").finishes("success");
    process.kill(pid, "SIGKILL");
  });

  test("one that is started while the old one still stops waits for it, says so, and takes its place", async () => {
    await using node = await enrolledProcess({ watched: true, settings: { shutdown_timeout: "20s" } });
    const reporting = Promise.withResolvers<void>();
    node.gateway.interfere(async (route, forward) => {
      if (route === "completed") await reporting.promise;
      return forward();
    });
    const task = node.runs("true");
    await until("its end is being reported", () => node.gateway.count("completed") > 0);
    const old = node.pid;
    process.kill(old, "SIGTERM");
    await node.statusBecomes("it is stopping", ({ stopping }) => stopping === true);
    await node.starts();
    await until("it says so", () => node.log.some((line) => line.includes(`(pid ${old}) to end`)));
    // Longer than an agent that goes on is waited for.
    await elapse(3_500);
    reporting.resolve();
    await node.statusBecomes("the new one is in charge", ({ pid }) => pid === node.pid);
    expect(node.pid).not.toBe(old);
    expect(task.document().status).toBe("success");
    await node.runs("true").finishes("success");
  });

  test("what a killed one has left behind is no hindrance", async () => {
    // A claim of the dead takes what comes next, and the server gives it back when its lease is over.
    await using node = await enrolledProcess({
      sandbox: SHORT_LEASE,
    });
    await node.status();
    await node.dies();
    await node.starts();
    await node.runs("true").finishes("success");
  });
});
