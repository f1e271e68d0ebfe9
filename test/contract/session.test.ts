// The realtime session against a real control plane and a network that fails: how fast it is there, and back again.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync } from "node:fs";
import { milliseconds } from "../../src/lib/duration.ts";
import { NODE, TEST_LIMIT, asRoot } from "../support/agent.ts";
import { until } from "../support/until.ts";
import { network } from "../support/network.ts";
import { agentBehind, alerts, identityOf, nodeIs, sessionOnline } from "../support/session.ts";
import { start } from "../unit/realtime/harness.ts";

setDefaultTimeout(TEST_LIMIT);

test("is online after the agent's start, and the control plane knows it by then", async () => {
  await using wire = await network();
  await using node = await agentBehind(wire, { started: false });
  await node.starts();
  await sessionOnline(node);
  await nodeIs(node, "online", milliseconds(1));
});

describe.concurrent("the session is back", () => {
  test("after its socket was cut, on one new socket, and the node is online", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire);
    await sessionOnline(node);
    await until("a sample was taken", () => node.sandbox.metrics(NODE).length > 0);
    const opened = wire.upgrades();
    wire.cut();
    await sessionOnline(node, { reconnects: 1 });
    await nodeIs(node, "online", milliseconds(1));
    expect(wire.upgrades() - opened).toBe(1);
  });

  test("after the server went away and came back, and metrics go on", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire);
    await sessionOnline(node);
    await node.plane.goesAway();
    await node.statusBecomes("it is lost", ({ noderax }) => noderax?.session?.state === "waiting");
    await node.statusBecomes("it tried in vain", ({ loops }) =>
      loops.some((loop) => loop.name === "session" && loop.consecutive_failures >= 2),
    );
    await node.plane.comesBack();
    await sessionOnline(node, { reconnects: 1 });
    const before = node.sandbox.metrics(NODE).length;
    await until("metrics go on", () => node.sandbox.metrics(NODE).length > before);
  });

  test("from a network that froze, by the deadline of a ping and without an alert", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire, { settings: { request_timeout: "1200ms" } });
    await sessionOnline(node);
    await until("the first ping was answered", () => wire.events("agent.ping").length > 0);
    wire.freeze();
    await node.statusBecomes("lost", ({ noderax }) => noderax?.session?.state !== "online");
    await sessionOnline(node, { reconnects: 1 });
    await nodeIs(node, "online", milliseconds(1));
    // One unanswered ping is enough where nothing else is heard either.
    expect(node.log.join()).toContain("lost: nothing was received for 1.2s");
    expect(alerts(node)).toBe(0);
  });

  test("from a network on which nothing passed at all for a while, new connections neither", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire, { settings: { request_timeout: "600ms" } });
    await sessionOnline(node);
    const [opened, logged] = [wire.upgrades(), node.log.length];
    wire.freeze("later ones too");
    await until(
      "an attempt has failed",
      () => wire.upgrades() > opened || node.log.slice(logged).join().includes("handshake"),
    );
    wire.thaw();
    await sessionOnline(node, { reconnects: 1 });
    await until("what it gave up is closed", () => wire.websockets() === 1);
  });

  test("after a request of the server for too long a silence of ours", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire, {
      sandbox: { timings: { pingTimeout: 300, pingCheck: 50 } },
      settings: { realtime_ping_interval: "10s", metrics_interval: "10m" },
    });
    await sessionOnline(node);
    await until("it has come again", () => wire.upgrades() > 1);
    const [first, second] = wire.requests.filter(({ upgrade }) => upgrade).map(({ at }) => at);
    // A server that asks to leave is left alone for a second.
    expect((second ?? 0) - (first ?? 0)).toBeGreaterThan(300 + 1_000);
    await node.statusBecomes("online again", ({ noderax }) => (noderax?.session?.reconnects ?? 0) > 0);
  });
});

describe.concurrent("agent.auth", () => {
  test("is the first event of every socket, and nothing else is sent before its ack", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire, {
      sandbox: { timings: { authWindow: 5_000 } },
      settings: { realtime_ping_interval: "100ms" },
    });
    await sessionOnline(node);
    await until(
      "it speaks",
      () => wire.events("agent.ping").length > 1 && wire.events("agent.metrics").length > 0,
    );
    const events = wire.packets.filter(({ event, from }) => from === "server" || event !== "agent.auth");
    // The server says it twice, as event and as ack; nothing of ours comes before.
    expect(events[0]).toMatchObject({ from: "server", event: "agent.auth.ack" });
    expect(wire.upgrades()).toBe(1);
    const body = wire.events("agent.auth")[0]?.body;
    for (const key of ["agentVersion", "platformVersion", "kernelVersion"]) expect(body?.[key]).toBeTruthy();
  });

  test("without an answer is given up after the request's time, and tried anew", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire, {
      sandbox: { faults: { lostAnswers: 1, routes: ["realtime.auth"] } },
      settings: { request_timeout: "500ms" },
    });
    await until("it was asked twice", () => wire.events("agent.auth").length >= 2);
    node.sandbox.setFaults({ lostAnswers: 0 });
    await sessionOnline(node);
  });

  test.skipIf(!asRoot)(
    "carries a root profile that was pushed, on the same socket (needs root)",
    async () => {
      await using wire = await network();
      await using node = await agentBehind(wire);
      await sessionOnline(node);
      const opened = wire.upgrades();
      node.sandbox.setRootAccess(NODE, "task_terminal");
      // A claim would bring it after 30 s.
      await until("applied and reported", () => node.sandbox.node(NODE).root_access.status === "applied");
      expect(wire.events("agent.auth").at(-1)?.body["rootAccess"]).toMatchObject({
        appliedProfile: "task_terminal",
        lastError: null,
      });
      expect(node.agent.status().noderax?.root_profile).toBe("task_terminal");
      expect(wire.upgrades()).toBe(opened);
      expect(node.sandbox.node(NODE).kernel_version).toBeTruthy();
    },
  );

  test("carries the owner's veto after the push", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire, { settings: { allow_root_tasks: false } });
    await sessionOnline(node);
    node.sandbox.setRootAccess(NODE, "task");
    await until("it failed", () => node.sandbox.node(NODE).root_access.status === "failed");
    const { applied_profile: now, last_error: error } = node.sandbox.node(NODE).root_access;
    expect(now).toBe("off");
    if (asRoot) expect(error).toContain("allow_root_tasks");
  });

  test("carries a profile that was changed while the agent was away, with its first answer", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire, { started: false });
    node.sandbox.setRootAccess(NODE, "task");
    await node.starts();
    await until("reported", () => node.sandbox.node(NODE).root_access.status !== "pending");
  });
});

test("200 cut connections in a row leave no descriptor behind, and each is followed by another", async () => {
  await using wire = await network();
  await using node = await agentBehind(wire, { started: false });
  const { node_id: nodeId, agent_token: agentToken } = await identityOf(node);
  // The agent's session with a pause of no length: the real ones add up to an hour.
  await using agent = start(wire.url, { identity: { nodeId, agentToken }, random: () => 0.000_1 });
  const descriptors = (): number => readdirSync("/proc/self/fd").length;
  let before = 0;
  for (let cuts = 0; cuts < 200; cuts++) {
    await until(`online ${cuts} times again`, () => {
      const { state, reconnects } = agent.session.state();
      return state === "online" && reconnects === cuts;
    });
    if (cuts === 20) before = descriptors();
    wire.cut();
  }
  await agent.becomes("online");
  await until("no more descriptors than before", () => descriptors() <= before + 2);
}, 240_000);
