// A control plane that says anything: the agent outlives it, keeps its session, and goes on with its work.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { seconds } from "../../src/lib/duration.ts";
import { type ProcessNode, TEST_LIMIT, enrolledProcess } from "../support/agent.ts";
import { until } from "../support/until.ts";
import { type Hostile, hostile } from "../support/hostile.ts";
import { start } from "../unit/realtime/harness.ts";
import { BRISK, nodeIs, sessionFails, sessionOf, sessionOnline } from "../support/session.ts";

setDefaultTimeout(TEST_LIMIT);

async function agentOf(plane: Hostile): Promise<ProcessNode> {
  const node = await enrolledProcess({
    settings: {
      ...BRISK,
      task_poll_interval: "1s",
      log_format: "json",
      log_level: "debug",
      api_url: plane.url,
    },
    started: false,
  });
  plane.leadsTo(node.sandbox.url);
  await node.starts();
  return node;
}

const EVENTS = [
  "agent.auth.ack",
  "agent.error",
  "root-access.updated",
  "task.dispatch",
  "terminal.start",
  "terminal.input",
  "terminal.resize",
  "terminal.stop",
  "message",
  "no.such.event",
  "__proto__",
  "",
];

const id = "11111111-2222-4333-8444-555555555555";
const deep = JSON.parse(`${'{"a":'.repeat(500)}1${"}".repeat(500)}`) as object;
const BODIES: readonly unknown[] = [
  undefined,
  null,
  true,
  0,
  -1e308,
  "",
  "text",
  "x".repeat(200_000),
  [],
  [[[]]],
  {},
  deep,
  new Uint8Array(100),
  { type: 7, nodeId: [], authenticated: "yes", rootAccess: null },
  { authenticated: true, nodeId: id, rootAccess: { profile: "everything", updatedAt: 5 } },
  { rootAccess: { profile: "__proto__", updatedAt: "no date" } },
  { message: { toString: null }, eventType: {}, code: [] },
  JSON.parse('{"__proto__":{"profile":"all"},"constructor":null,"sessionId":{}}') as unknown,
  { type: "terminal.start", sessionId: "../../etc/passwd", cols: 80, rows: 24, runAsRoot: false },
  { type: "terminal.start", sessionId: id, cols: 1e9, rows: -4, runAsRoot: "no" },
  { type: "terminal.start", sessionId: id, cols: "80", rows: null },
  { type: "terminal.input", sessionId: id, payload: "%%%" },
  { type: "terminal.resize", sessionId: id, cols: Number.MAX_SAFE_INTEGER, rows: 0 },
  { type: "terminal.stop", sessionId: id, reason: ["why"] },
  { type: "task.dispatch", task: { id: 5, type: null, payload: "x", timeoutSeconds: -1 } },
];

describe.concurrent("an agent outlives", () => {
  test("every event of the server in every wrong form, on one socket, and goes on with its work", async () => {
    await using plane = hostile();
    await using node = await agentOf(plane);
    await sessionOnline(node);
    const socket = plane.socket();
    for (const event of EVENTS) {
      for (const body of BODIES) socket.emit(event, body);
      socket.emit(event);
      socket.emit(event, {}, {}, "more", 4);
      // An ack is asked for that is none of the contract.
      socket.emit(event, {}, () => {});
    }
    const pings = plane.count("agent.ping");
    await until("it pings on", () => plane.count("agent.ping") > pings + 1);
    await node.runs("echo still here").finishes("success");
    const { noderax } = await node.status();
    expect(noderax).toMatchObject({
      terminals: [],
      root_profile: "off",
      session: { state: "online", reconnects: 0 },
    });
    expect(plane.came.count).toBe(1);
    expect(node.log.filter((line) => line.includes('"level":"error"'))).toEqual([]);
  });

  test("answers to its events that are none", async () => {
    await using plane = hostile();
    const answers = [
      [],
      [null],
      ["yes"],
      [[]],
      [{ ok: "yes" }],
      [{ ok: true, message: 7 }],
      [{}, {}],
      [new Uint8Array(9)],
    ];
    let turn = 0;
    plane.onEvent((_, answer) => answer(...(answers[turn++ % answers.length] ?? [])));
    let auths = 0;
    plane.onAuth((_, answer) =>
      auths++ === 0 ? answer("welcome") : answer({ authenticated: true, nodeId: "x" }),
    );
    await using node = await agentOf(plane);
    await sessionOnline(node);
    await until("all were given twice", () => turn > 2 * answers.length);
    plane.socket().emit("agent.auth.ack", { authenticated: true, nodeId: "x" });
    plane.raw('43/agent-realtime,424242[{"ok":true}]');
    plane.raw("43/agent-realtime,1[]");
    await node.runs("echo still here").finishes("success");
    await node.statusBecomes("online", (status) => sessionOf(status)?.state === "online");
    // "welcome" was no answer: the first socket was given up.
    expect(plane.came.count).toBe(2);
  });

  test("frames that are none, whatever layer they are none of, by a new connection at worst", async () => {
    await using plane = hostile();
    // The session alone: it need not wait longer from one of them to the next.
    await using agent = start(plane.url, { random: () => 0.001 });
    for (const frame of [
      "zzz",
      "4zzz",
      '42/agent-realtime,["agent.error"',
      '42/agent-realtime,["disconnect"]',
      '451-/agent-realtime,["agent.error",{"_placeholder":true,"num":9}]',
      '44/agent-realtime,{"message":{"toString":null}}',
      "44/agent-realtime,",
      "0null",
      new Uint8Array(50),
    ]) {
      await agent.becomes("online");
      plane.raw(frame);
      const pings = plane.count("agent.ping");
      await until(`it pings on after ${String(frame)}`, () => plane.count("agent.ping") > pings + 1);
    }
    // Answers without content, to whatever waits for one.
    await agent.becomes("online");
    plane.onEvent(() => {});
    const pings = plane.count("agent.ping");
    await until("a ping waits", () => plane.count("agent.ping") > pings);
    for (let ack = 0; ack < 300; ack++) plane.raw(`43/agent-realtime,${ack}`);
    plane.onEvent(undefined);
    await until("it pings on", () => plane.count("agent.ping") > pings + 2);
    expect(agent.log.lines.filter(({ level }) => level === "error")).toEqual([]);
  });

  test("a refusal of a megabyte, full of control characters: it is shown short and harmless", async () => {
    await using plane = hostile();
    plane.onAuth((socket) => {
      socket.emit("agent.auth.error", { message: `\x1b[2Jno\n${"x".repeat(1_000_000)}` });
      socket.disconnect(true);
    });
    plane.onEvent((_, answer) => answer({ ok: false, message: `\x1b[2Jno\n${"x".repeat(1_000_000)}` }));
    await using node = await agentOf(plane);
    const { note } = await sessionFails(node, "auth error");
    expect(note.length).toBeLessThan(1_000);
    expect(note).toContain("no");
    expect(note).not.toMatch(/\p{Cc}/u);
    plane.onAuth(undefined);
    await sessionOnline(node);
    plane.socket().emit("agent.error", { message: `\x1b[2J${"x".repeat(1_000_000)}` });
    const metrics = await node.statusBecomes("a sample was refused", ({ loops }) =>
      loops.some(({ name, last_error: error }) => name === "metrics" && error !== null),
    );
    expect(JSON.stringify(metrics).length).toBeLessThan(10_000);
    expect(
      Math.max(
        ...node.log
          .join("\n")
          .split("\n")
          .map(({ length }) => length),
      ),
    ).toBeLessThan(2_000);
  });

  test("being asked to leave again and again: it comes back after a second at the earliest", async () => {
    await using plane = hostile();
    await using node = await agentOf(plane);
    await sessionOnline(node);
    const { at } = plane.came;
    plane.socket().disconnect(true);
    await sessionOnline(node, { reconnects: 1, within: seconds(6.5) });
    expect(plane.came.at - at).toBeGreaterThan(1_000);
    await nodeIs(node, "online");
  });
});
