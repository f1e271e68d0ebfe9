// What keeps the session away — proxies, wrong settings, refusals, another agent — and how the node lives meanwhile.
import { Database } from "bun:sqlite";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { seconds } from "../../src/lib/duration.ts";
import { type AgentNode, NODE, enrolledAgent } from "../support/agent.ts";
import { until } from "../support/until.ts";
import { type Network, network } from "../support/network.ts";
import {
  BRISK,
  agentBehind,
  alerts,
  identityOf,
  nodeIs,
  sessionFails,
  sessionOf,
  sessionOnline,
} from "../support/session.ts";
import { start } from "../unit/realtime/harness.ts";

// The first sample over HTTP waits up to 30 s for a session; the second try after a refusal comes within 20 s.
const LATER = seconds(40);
setDefaultTimeout(90_000);

const lines = (node: AgentNode, level: string, part: string): string[] =>
  node.log.filter((line) => {
    const { level: has, loop } = JSON.parse(line) as { level: string; loop: string };
    return has === level && loop === part;
  });

describe.concurrent("where a proxy lets no websocket through", () => {
  test("the session says so once, keeps trying, and comes up when it may", async () => {
    await using wire = await network();
    wire.refuse({ status: 403 });
    await using node = await agentBehind(wire);
    const { note } = await sessionFails(node, "tls/proxy handshake failure");
    expect(note).toContain("the server answers over HTTP, but no websocket opens");
    await nodeIs(node, "online");
    await until("it tried three times", () => wire.upgrades() >= 3);
    expect(lines(node, "warn", "session")).toHaveLength(1);
    wire.refuse(undefined);
    await sessionOnline(node, { within: LATER });
    expect(sessionOf(node.agent.status())).toMatchObject({ failure: null, note: "" });
  });

  test("heartbeats keep the node online, and metrics come over HTTP, at a rate the throttle allows", async () => {
    await using wire = await network();
    wire.refuse({ status: 403 });
    await using node = await agentBehind(wire, {
      sandbox: { timings: { heartbeatTimeout: 4_000, offlineCheck: 100 } },
      settings: { heartbeat_interval: "1s" },
    });
    await nodeIs(node, "online");
    await until("a sample came", () => node.sandbox.metrics(NODE).length > 0, LATER);
    expect(await node.runs("echo alive").finishes("success")).toMatchObject({ output: "alive\n" });
    const beats = wire.count("/agent/heartbeat");
    await until("three heartbeats later", () => wire.count("/agent/heartbeat") >= beats + 3);
    expect(wire.count("/agent/metrics")).toBe(1);
    expect(alerts(node)).toBe(0);
    expect(wire.upgrades()).toBeLessThan(20);
  });

  test("a Retry-After is respected", async () => {
    await using wire = await network();
    const engine = ({ path }: { path: string }): boolean => path.startsWith("/socket.io/");
    wire.refuse({ status: 429, headers: { "retry-after": "3" }, of: engine });
    await using node = await agentBehind(wire);
    await until("it tried twice", () => wire.upgrades() >= 2);
    const [first = 0, second = 0] = wire.requests.filter(({ upgrade }) => upgrade).map(({ at }) => at);
    expect(second - first).toBeGreaterThanOrEqual(3_000);
    wire.refuse(undefined);
    await sessionOnline(node);
  });
});

describe.concurrent("settings that are wrong are reported by their class", () => {
  test.each([
    [
      "a namespace that is none",
      { realtime_namespace: "/nope" },
      "namespace connect failure",
      "realtime_namespace",
    ],
    ["a path that leads nowhere", { realtime_path: "/nope/" }, "invalid URL input", "realtime_path"],
  ])("%s", async (_, settings, failure, hint) => {
    await using wire = await network();
    await using node = await agentBehind(wire, { settings });
    const { note } = await sessionFails(node, failure);
    expect(note).toContain(hint);
    // Everything else goes on.
    await nodeIs(node, "online");
    const tried = wire.upgrades();
    await until("it keeps trying", () => wire.upgrades() > tried);
  });

  test("realtime_enabled=false is no failure: no socket, and the node lives on HTTP, metrics too", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire, { settings: { realtime_enabled: false } });
    await nodeIs(node, "online");
    await until("a sample came", () => node.sandbox.metrics(NODE).length > 0);
    await node.runs("true").finishes("success");
    expect(sessionOf(node.agent.status())).toBeUndefined();
    expect(node.agent.status().loops.map(({ name }) => name)).not.toContain("session");
    expect(wire.requests.filter(({ path }) => path.startsWith("/socket.io/"))).toEqual([]);
  });
});

describe.concurrent("a refusal", () => {
  test("for a token that is wrong is an auth error that says what to do, and ends when it is right again", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire, { started: false });
    const { node_id: id } = await identityOf(node);
    const token = "f".repeat(64);
    node.hasIdentity({ node_id: id, agent_token: token });
    await node.starts();
    const { note } = await sessionFails(node, "auth error");
    expect(note).toContain("Invalid agent token");
    expect(note).toContain("enroll");
    expect(node.agent.status().noderax?.standing).toBe("refused");
    acceptsToken(node, id, token);
    // Asked for again after 5 to 10 s.
    await sessionOnline(node, { within: LATER });
    // A claim that was refused just before leaves a suspicion, which only the next one clears.
    node.runs("true");
    await node.statusBecomes("its standing is ok", ({ noderax }) => noderax?.standing === "ok", LATER);
  });

  test("for a database that is down is one that passes, and passes", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire, { started: false });
    node.sandbox.setFaults({ databaseDown: true });
    await node.starts();
    const { note } = await sessionFails(node, "auth error");
    expect(note).toContain("connect ECONNREFUSED");
    expect(note).not.toContain("enroll");
    await until("it keeps trying", () => wire.events("agent.auth").length >= 3);
    expect(node.agent.status().noderax?.standing).not.toBe("refused");
    node.sandbox.setFaults({ databaseDown: false });
    await sessionOnline(node, { within: LATER });
    expect(lines(node, "error", "identity")).toEqual([]);
  });

  test("because the node was deleted is reported as that, and the agent goes on asking", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire);
    await sessionOnline(node);
    node.sandbox.deleteNode(NODE);
    const { note } = await sessionFails(node, "auth error");
    expect(note).toContain("was not found");
    expect(node.agent.status().noderax?.standing).toBe("deleted");
    const asked = wire.events("agent.auth").length;
    await until("it asks again", () => wire.events("agent.auth").length > asked, LATER);
    expect(node.agent.status().loops.map(({ note: what }) => what)).not.toContain("stopped");
  });
});

/** Changes the token behind the control plane's back, as a restored database does. */
function acceptsToken(node: AgentNode, id: string, token: string): void {
  using database = new Database(join(node.directory, "sandbox", "sandbox.db"));
  database.run("PRAGMA busy_timeout = 2000");
  database.run("UPDATE nodes SET agentToken = ? WHERE id = ?", [token, id]);
}

test.concurrent("the agent's token is in no line of its log and not in its status, whatever happens", async () => {
  await using wire = await network();
  await using node = await agentBehind(wire);
  await sessionOnline(node);
  node.sandbox.setFaults({ databaseDown: true });
  wire.cut();
  await sessionFails(node, "auth error");
  wire.refuse({ status: 403 });
  await sessionFails(node, "tls/proxy handshake failure");
  wire.refuse(undefined);
  node.sandbox.setFaults({ databaseDown: false, errorRate: 0.5, routes: ["realtime.metrics", "heartbeat"] });
  await sessionOnline(node, { reconnects: 1, within: LATER });
  const { agent_token: token } = await identityOf(node);
  expect(JSON.stringify(wire.packets)).toContain(token);
  expect(node.log.join("\n") + JSON.stringify(node.agent.status())).not.toContain(token);
});

/** A copy of `node`'s machine, identity and all. */
async function copyOf(node: AgentNode, wire: Network, settings: object): Promise<AgentNode> {
  const copy = await enrolledAgent({
    settings: { ...BRISK, api_url: wire.url, ...settings },
    enrolled: false,
    started: false,
  });
  copy.hasIdentity(await identityOf(node));
  await copy.starts();
  return copy;
}

describe.concurrent("two agents with one identity", () => {
  test("find out, say so loudly and once, and stop throwing each other out", async () => {
    await using wire = await network();
    const settings = { heartbeat_interval: "1s" };
    await using one = await agentBehind(wire, { settings });
    await sessionOnline(one);
    await using two = await copyOf(one, wire, settings);
    const began = performance.now();
    const complaints = (node: AgentNode): string[] =>
      lines(node, "error", "session").filter((line) => line.includes("another agent uses this identity"));
    const knows = (): AgentNode | undefined => [one, two].find((node) => complaints(node).length > 0);
    // Thrown out three times, with pauses of 1 to 5 s.
    await until("one of them knows", () => knows() !== undefined, LATER);
    const loser = knows() ?? one;
    const winner = loser === one ? two : one;
    expect(sessionOf(loser.agent.status())?.note).toContain("another agent uses this identity");
    const auths = wire.events("agent.auth").length;
    expect(auths).toBeLessThanOrEqual(2 + (performance.now() - began) / 900);
    // Longer than any pause but that of two who know: the winner sends a sample a second.
    const samples = wire.events("agent.metrics").length;
    await until("seven samples later", () => wire.events("agent.metrics").length >= samples + 7, LATER);
    expect(wire.events("agent.auth").length).toBe(auths);
    expect(complaints(one).length + complaints(two).length).toBe(1);
    expect(sessionOf(winner.agent.status())?.state).toBe("online");
    expect(alerts(one)).toBe(0);
    // One of them is enough to keep the node online, whichever is stopped.
    await winner.stops();
    await nodeIs(one, "online");
  });

  test("are one again when the other is stopped: the session comes up and stays", async () => {
    await using wire = await network();
    await using node = await agentBehind(wire, { started: false });
    const { node_id: nodeId, agent_token: agentToken } = await identityOf(node);
    const identity = { nodeId, agentToken };
    // A random number below 0 makes half a minute half a second.
    await using one = start(wire.url, { identity, random: () => -0.983 });
    await one.becomes("online");
    await using two = start(wire.url, { identity, random: () => 0.01 });
    await until("the first knows", () => one.session.state().note.includes("another agent"));
    await two.stop();
    await one.becomes("online");
    const auths = wire.events("agent.auth").length;
    const pings = wire.events("agent.ping").length;
    await until("ten pings later", () => wire.events("agent.ping").length >= pings + 10);
    expect(one.session.state().state).toBe("online");
    expect(wire.events("agent.auth").length).toBe(auths);
  });
});
