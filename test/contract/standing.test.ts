// Whether we are welcome: a 401 proves nothing, a deleted node is reported as one, and the agent outlives both.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { TEST_LIMIT, enrolledAgent } from "../support/agent.ts";
import { until } from "../support/until.ts";
import { type Seen, refusal } from "../support/sandbox.ts";

setDefaultTimeout(TEST_LIMIT);

describe.concurrent("the agent goes on by itself", () => {
  test("when 401 only meant that the server's database was down", async () => {
    await using node = await enrolledAgent();
    await node.isOnline();
    node.sandbox.setFaults({ databaseDown: true });
    await node.statusBecomes("suspect", ({ noderax }) => noderax?.standing === "suspect");
    node.sandbox.setFaults({ databaseDown: false });
    await node.runs("true").finishes("success");
    expect(node.agent.status().noderax?.standing).toBe("ok");
  });

  test("when its node was deleted and comes back, and says in the meantime that it is deleted", async () => {
    await using node = await enrolledAgent({ watched: true });
    await node.isOnline();
    node.gateway.interfere((route, forward) => {
      if (route === "claim") return refusal(401, "Invalid agent credentials");
      return route === "heartbeat" ? refusal(404, "Node was not found") : forward();
    });
    const { loops } = await node.statusBecomes("deleted", ({ noderax }) => noderax?.standing === "deleted");
    expect(loops.find(({ name }) => name === "claim")?.note).not.toBe("stopped");
    await node.statusBecomes("it says so", (status) =>
      status.loops.some(
        ({ name, note }) => name === "claim" && note.includes("deleted by the control plane"),
      ),
    );
    node.gateway.interfere(undefined);
    await node.runs("true").finishes("success", 25_000);
    expect(node.agent.status().noderax?.standing).toBe("ok");
  });

  test("when its token was refused for a while: what is accepted first ends the long pauses of the others", async () => {
    await using node = await enrolledAgent({ watched: true, started: false });
    node.gateway.interfere((route) => refusal(401, route === "heartbeat" ? "Invalid agent token" : "no"));
    await node.starts();
    await node.statusBecomes("refused", ({ noderax }) => noderax?.standing === "refused");
    const refused = node.gateway.count("claim");
    const since = performance.now();
    node.gateway.interfere(undefined);
    await until("it claims again", () => node.gateway.count("claim") > refused);
    // By itself it would pause for five seconds at least, and for minutes after some refusals.
    expect(performance.now() - since).toBeLessThan(4_500);
    await node.statusBecomes("ok", ({ noderax }) => noderax?.standing === "ok");
  });

  test("when its token is refused, which it says", async () => {
    await using node = await enrolledAgent({ started: false });
    const { node_id: id } = JSON.parse(await Bun.file(node.stateFile).text()) as { node_id: string };
    node.hasIdentity({ node_id: id, agent_token: "f".repeat(64) });
    await node.starts();
    const { loops } = await node.statusBecomes(
      "refused, and the claims have seen it",
      ({ noderax, loops }) =>
        noderax?.standing === "refused" &&
        loops.some((loop) => loop.name === "claim" && loop.consecutive_failures > 0),
    );
    expect(loops.map(({ note }) => note)).not.toContain("stopped");
  });
});

describe.concurrent("heartbeats", () => {
  test("put the node online within a second of the start, with all three versions", async () => {
    await using node = await enrolledAgent();
    await node.isOnline(1_000);
    const {
      agent_version: agent,
      platform_version: platform,
      kernel_version: kernel,
    } = node.sandbox.node("node-1");
    for (const version of [agent, platform, kernel]) expect(version).toBeTruthy();
    expect(node.sandbox.events().map(({ type }) => type)).toEqual(["node.online"]);
  });

  test("keep it online, and its versions", async () => {
    await using node = await enrolledAgent({
      sandbox: { timings: { heartbeatTimeout: 4_000, offlineCheck: 100 } },
      settings: { heartbeat_interval: "300ms" },
      watched: true,
    });
    await node.isOnline();
    const { last_seen_at: first, ...facts } = node.sandbox.node("node-1");
    // 15 × 0.3 s are more than the server's timeout.
    await until("15 heartbeats were sent", () => node.gateway.count("heartbeat") >= 15);
    const { last_seen_at: later, ...then } = node.sandbox.node("node-1");
    expect(then).toMatchObject({ status: "online", kernel_version: facts.kernel_version });
    expect(Date.parse(later ?? "")).toBeGreaterThan(Date.parse(first ?? ""));
    expect(node.sandbox.events().map(({ type }) => type)).toEqual(["node.online"]);
  });

  test("bring it back online after an outage", async () => {
    await using node = await enrolledAgent({
      sandbox: { timings: { heartbeatTimeout: 500, offlineCheck: 100 } },
      settings: { heartbeat_interval: "200ms" },
    });
    await node.isOnline();
    node.sandbox.setFaults({ errorRate: 1, routes: ["heartbeat"] });
    await until("offline", () => node.sandbox.node("node-1").status === "offline");
    node.sandbox.setFaults({ errorRate: 0 });
    await node.isOnline();
    expect(node.sandbox.node("node-1").agent_version).toBeTruthy();
  });

  test("respect the server's wish to be left alone for a while", async () => {
    await using node = await enrolledAgent({
      watched: true,
      sandbox: { throttle: true, timings: { throttleLimit: 3, throttleWindow: 6_000 } },
      settings: { heartbeat_interval: "100ms" },
    });
    const beats = (): Seen[] => node.gateway.seen.filter(({ route }) => route === "heartbeat");
    const throttled = (): number => beats().findIndex(({ status }) => status === 429);
    await until("it is throttled", () => throttled() >= 0);
    await until("it beats again", () => beats().length > throttled() + 1);
    // Retry-After leads to the end of the window, which the first of them began.
    const again = beats()[throttled() + 1];
    expect((again?.at ?? 0) - (beats()[0]?.at ?? 0)).toBeGreaterThan(5_900);
  });
});

describe.concurrent("maintenance", () => {
  test("lets nothing new in, lets what runs go on, and ends by itself", async () => {
    await using node = await enrolledAgent({ watched: true, settings: { task_poll_interval: "500ms" } });
    const { path: go } = node.file("go");
    const running = node.runs(`while [ ! -e ${go} ]; do sleep 0.05; done; echo ran on`);
    await running.isRunning();
    const queued = node.runs({ payload: { command: "echo later" } });
    // Queued and in maintenance in the same moment: nobody has looked in between, or it was claimed before.
    node.sandbox.setMaintenance("node-1", true);
    const was = queued.document().status;
    expect(() => node.runs("true")).toThrow("maintenance");
    await Bun.write(go, "");
    expect((await running.finishes("success")).output).toBe("ran on\n");
    if (was === "queued") {
      const claims = node.gateway.count("claim");
      await until("it claimed again, twice", () => node.gateway.count("claim") >= claims + 2);
      expect(queued.document().status).toBe("queued");
    }
    expect(node.sandbox.node("node-1").status).toBe("online");
    node.sandbox.setMaintenance("node-1", false);
    await queued.finishes("success");
  });
});
