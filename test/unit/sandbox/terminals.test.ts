// The life of a terminal session as the control plane sees it, and what its agent is told and answered.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { seconds } from "../../../src/lib/duration.ts";
import type { Sandbox, SandboxOptions } from "../../../src/sandbox/sandbox.ts";
import { stopClock } from "../../support/fake-time.ts";
import { type AgentSocket, type Json, base64, onlineAgent, plain } from "./agent-socket.ts";
import { type TestNode, enrolled, sandboxWith, until, uuid } from "./harness.ts";

setDefaultTimeout(150_000);

interface Stage extends AsyncDisposable {
  readonly sandbox: Sandbox;
  readonly node: TestNode;
  readonly agent: AgentSocket;
  /** A new session's id. */
  pending(): string;
  open(): Promise<string>;
  output(sessionId: string, text: string, more?: Json): Promise<Json>;
  events(name: string): Json[];
}

async function stage(timings: SandboxOptions["timings"] = {}): Promise<Stage> {
  const sandbox = await sandboxWith({ timings: { frameRaceWindow: 0, ...timings } });
  const node = await enrolled(sandbox);
  const agent = await onlineAgent(sandbox, node);
  const pending = (): string => sandbox.openTerminal({ node: node.id }).id;
  return {
    sandbox,
    node,
    agent,
    pending,
    async open() {
      const sessionId = pending();
      await agent.ask("terminal.opened", { sessionId });
      return sessionId;
    },
    output: (sessionId, text, more = {}) =>
      agent.ask("terminal.output", { sessionId, direction: "stdout", payload: base64(text), ...more }),
    events: (name) => agent.heard.filter(({ event }) => event === name).map(({ body }) => body),
    async [Symbol.asyncDispose]() {
      agent.socket.disconnect();
      await sandbox.stop();
    },
  };
}

test("from start to exit: the events to the agent, the transcript, and the exit code 0", async () => {
  await using on = await stage();
  const { sandbox, agent } = on;
  const { id, status } = sandbox.openTerminal({ node: "demo-1", cols: 100, rows: 40 });
  expect(status).toBe("pending");
  expect(await agent.hears("terminal.start")).toEqual({
    type: "terminal.start",
    sessionId: id,
    cols: 100,
    rows: 40,
    runAsRoot: false,
  });
  const opened = { sessionId: id, cols: 90, rows: 30, timestamp: "just now" };
  expect(await agent.ask("terminal.opened", opened)).toEqual({ ok: true, sessionId: id, status: "open" });
  expect(sandbox.terminal(id)).toMatchObject({ status: "open", cols: 90, rows: 30 });
  sandbox.typeInto(id, "ls\r");
  expect(await agent.hears("terminal.input")).toEqual({
    type: "terminal.input",
    sessionId: id,
    payload: base64("ls\r"),
  });
  sandbox.resizeTerminal(id, 80, 24);
  expect(await agent.hears("terminal.resize")).toMatchObject({ sessionId: id, cols: 80, rows: 24 });
  expect(await on.output(id, "a")).toEqual({ ok: true, sessionId: id, seq: 2 });
  expect(await on.output(id, "", { direction: "system" })).toMatchObject({ seq: 3 });
  expect(await agent.ask("terminal.exited", { sessionId: id, exitCode: 0 })).toMatchObject({
    status: "closed",
  });
  expect(sandbox.terminal(id)).toMatchObject({ status: "closed", exit_code: 0, closed_reason: null });
  expect(await on.output(id, "late")).toMatchObject({ ok: true, seq: null });
  const kept = sandbox.transcript(id).map(({ seq, direction, payload }) => [seq, direction, plain(payload)]);
  expect(kept).toEqual([
    [1, "input", "ls\r"],
    [2, "output", "a"],
    [3, "system", ""],
  ]);
  expect(sandbox.transcript(id.slice(0, 8), { after: 2 })).toHaveLength(1);
});

describe("creation", () => {
  test("is refused while the node is offline, and its agent never hears of it", async () => {
    await using sandbox = await sandboxWith();
    const node = await enrolled(sandbox);
    expect(() => sandbox.openTerminal({ node: node.id })).toThrow("is offline");
    expect(sandbox.terminals()).toEqual([]);
  });

  test("with a size outside 20–400 × 10–200 is refused", async () => {
    await using on = await stage();
    for (const size of [{ cols: 19 }, { cols: 401 }, { rows: 9 }, { rows: 201 }, { cols: 80.5 }])
      expect(() => on.sandbox.openTerminal({ node: "demo-1", ...size })).toThrow("whole number");
  });

  test("as root goes by the profile the agent has applied", async () => {
    await using on = await stage();
    const request = { node: "demo-1", runAsRoot: true };
    on.sandbox.setRootAccess("demo-1", "all");
    expect(() => on.sandbox.openTerminal(request)).toThrow(
      "Node demo-1 does not currently allow terminal root access. Applied profile is off.",
    );
    await on.agent.auth(on.node, { rootAccess: { appliedProfile: "operational_terminal" } });
    on.sandbox.openTerminal(request);
    expect(await on.agent.hears("terminal.start")).toMatchObject({ runAsRoot: true });
  });

  test("on a node that is online by its heartbeat alone fails the session", async () => {
    await using sandbox = await sandboxWith();
    const node = await enrolled(sandbox);
    await node.post("/agent/heartbeat", { nodeId: node.id, agentToken: node.token });
    expect(sandbox.openTerminal({ node: node.id })).toMatchObject({ status: "failed" });
  });
});

test("a session that is not opened in time fails; the agent learns it from its acks", async () => {
  await using on = await stage({ terminalOpenLimit: 20 });
  const sessionId = on.pending();
  await until(() => on.sandbox.terminal(sessionId).status === "failed");
  expect(await on.agent.ask("terminal.opened", { sessionId })).toMatchObject({ ok: true, status: "failed" });
  expect(await on.output(sessionId, "x")).toMatchObject({ ok: true, seq: null });
  expect(await on.agent.ask("terminal.exited", { sessionId })).toMatchObject({ status: "failed" });
  expect(on.events("terminal.stop")).toEqual([]);
});

test("while a session is pending, a new size is kept and not forwarded, and output is stored", async () => {
  await using on = await stage();
  const sessionId = on.pending();
  on.sandbox.resizeTerminal(sessionId, 50, 20);
  expect(await on.output(sessionId, "early")).toMatchObject({ seq: 1 });
  await on.agent.ask("terminal.opened", { sessionId });
  expect(on.sandbox.terminal(sessionId)).toMatchObject({ cols: 50, rows: 20 });
  expect(on.events("terminal.resize")).toEqual([]);
  expect(on.sandbox.transcript(sessionId)).toHaveLength(1);
});

describe("a stop", () => {
  test("is sent with its reason, and ended by the exit", async () => {
    await using on = await stage();
    const sessionId = await on.open();
    expect(on.sandbox.stopTerminal(sessionId, "enough")).toMatchObject({ status: "terminating" });
    expect(await on.agent.hears("terminal.stop")).toEqual({
      type: "terminal.stop",
      sessionId,
      reason: "enough",
    });
    expect(await on.output(sessionId, "last words")).toMatchObject({ seq: 1 });
    await on.agent.ask("terminal.exited", { sessionId, exitCode: null });
    expect(on.sandbox.terminal(sessionId)).toMatchObject({
      status: "closed",
      closed_reason: "enough",
      exit_code: null,
    });
    expect(() => on.sandbox.stopTerminal(sessionId)).toThrow("already closed");
  });

  test("without an exit closes the session after its limit", async () => {
    await using on = await stage({ terminalStopLimit: 20 });
    const sessionId = await on.open();
    on.sandbox.stopTerminal(sessionId);
    expect(await on.agent.hears("terminal.stop")).toMatchObject({ reason: null });
    await until(() => on.sandbox.terminal(sessionId).status === "closed");
  });

  test("followed by terminal.opened opens the session again", async () => {
    using clock = stopClock();
    await using on = await clock.during(stage({ terminalStopLimit: seconds(1) }));
    const sessionId = on.pending();
    on.sandbox.stopTerminal(sessionId);
    expect(await on.agent.ask("terminal.opened", { sessionId })).toMatchObject({ status: "open" });
    await clock.pass(seconds(10));
    expect(on.sandbox.terminal(sessionId).status).toBe("open");
  });
});

test("terminal.error fails the session with its message", async () => {
  await using on = await stage();
  const sessionId = on.pending();
  const message = "terminals are not allowed here";
  expect(await on.agent.ask("terminal.error", { sessionId, message })).toMatchObject({ status: "failed" });
  expect(on.sandbox.terminal(sessionId)).toMatchObject({ status: "failed", closed_reason: message });
});

test("when the last viewer has left, the grace begins; a viewer who comes in time saves the session", async () => {
  using clock = stopClock();
  await using on = await clock.during(stage({ terminalDetachGrace: seconds(5) }));
  const sessionId = await on.open();
  const [one, two] = [1, 2].map(() => on.sandbox.watchTerminal(sessionId, () => {}));
  one?.[Symbol.dispose]();
  await clock.pass(seconds(6));
  two?.[Symbol.dispose]();
  const three = on.sandbox.watchTerminal(sessionId, () => {});
  await clock.pass(seconds(6));
  expect(on.sandbox.terminal(sessionId).status).toBe("open");
  three[Symbol.dispose]();
  await clock.pass(seconds(5));
  expect(await on.agent.hears("terminal.stop")).toMatchObject({ reason: "controller-detached-timeout" });
});

test("a full transcript stops the session, and further output has no number", async () => {
  await using on = await stage({ transcriptLimit: 10 });
  const sessionId = await on.open();
  on.sandbox.typeInto(sessionId, "1234");
  expect(await on.output(sessionId, "123456")).toMatchObject({ seq: 2 });
  expect(await on.output(sessionId, "7")).toMatchObject({ ok: true, seq: null });
  expect(await on.agent.hears("terminal.stop")).toMatchObject({ reason: "transcript-overflow" });
  expect(await on.output(sessionId, "")).toMatchObject({ ok: true, seq: null });
  expect(on.sandbox.terminal(sessionId).status).toBe("terminating");
  expect(on.sandbox.transcript(sessionId)).toHaveLength(2);
});

describe("while the agent is not connected", () => {
  const away = async (on: Stage): Promise<string> => {
    const sessionId = await on.open();
    on.agent.socket.disconnect();
    await until(() => on.sandbox.node(on.node.id).status === "offline");
    return sessionId;
  };

  test("the session stays open and goes on under its id when the agent is back", async () => {
    await using on = await stage();
    const sessionId = await away(on);
    expect(on.sandbox.terminal(sessionId).status).toBe("open");
    using again = await onlineAgent(on.sandbox, on.node);
    on.sandbox.typeInto(sessionId, "x");
    expect(await again.hears("terminal.input")).toMatchObject({ sessionId });
  });

  test("a keystroke makes it fail", async () => {
    await using on = await stage();
    const sessionId = await away(on);
    on.sandbox.typeInto(sessionId, "x");
    expect(on.sandbox.terminal(sessionId)).toMatchObject({
      status: "failed",
      closed_reason: "Agent route was unavailable while sending terminal input.",
    });
  });

  test("a new size makes it fail", async () => {
    await using on = await stage();
    const sessionId = await away(on);
    expect(on.sandbox.resizeTerminal(sessionId, 80, 24)).toMatchObject({
      status: "failed",
      closed_reason: "Agent route was unavailable while resizing the terminal.",
    });
  });
});

test("an agent that does not read gets no more than 128 packets waiting; the session then fails", async () => {
  await using on = await stage({ transcriptLimit: 1e9 });
  const sessionId = await on.open();
  const fill = new Uint8Array(24_000);
  // Within one turn of the loop nobody reads: what the kernel does not take is waiting.
  for (let n = 0; n < 2_000 && on.sandbox.terminal(sessionId).status === "open"; n++)
    on.sandbox.typeInto(sessionId, fill);
  expect(on.sandbox.terminal(sessionId)).toMatchObject({ status: "failed" });
  await until(() => on.events("terminal.input").length >= 128);
});

test("a long paste is cut into pieces of at most 32 768 characters of base64", async () => {
  await using on = await stage();
  const sessionId = await on.open();
  const paste = "é".repeat(30_000);
  on.sandbox.typeInto(sessionId, paste);
  await until(() => on.events("terminal.input").length === 3);
  const payloads = on.events("terminal.input").map(({ payload }) => String(payload));
  expect(Math.max(...payloads.map(({ length }) => length))).toBeLessThanOrEqual(32_768);
  expect(Buffer.concat(payloads.map((one) => Buffer.from(one, "base64"))).toString()).toBe(paste);
});

describe("refused", () => {
  const message = "Bad Request Exception";
  const cases: [string, string, Json][] = [
    ["url-safe base64", "terminal.output", { payload: "-_-_" }],
    ["unpadded base64", "terminal.output", { payload: "YQ" }],
    ["a byte too much", "terminal.output", { payload: "A".repeat(65_540) }],
    ["binary", "terminal.output", { payload: Buffer.from("a") }],
    ["no direction", "terminal.output", { payload: "", direction: undefined }],
    ["an unknown key", "terminal.output", { payload: "", seq: 1 }],
    ["19 columns", "terminal.opened", { cols: 19 }],
    ["columns as text", "terminal.opened", { cols: "80" }],
    ["half an exit code", "terminal.exited", { exitCode: 0.5 }],
    ["a long reason", "terminal.exited", { reason: "x".repeat(501) }],
    ["a long message", "terminal.error", { message: "x".repeat(1_001) }],
    ["no message", "terminal.error", {}],
  ];
  test.each(cases)("%s in %s", async (_, eventType, body) => {
    await using on = await stage();
    const sessionId = await on.open();
    const direction = eventType === "terminal.output" ? { direction: "stdout" } : {};
    const answer = await on.agent.ask(eventType, { sessionId, ...direction, ...body });
    expect(answer).toEqual({ ok: false, eventType, message });
    expect(on.sandbox.terminal(sessionId).status).toBe("open");
  });

  test("a session nobody knows, and one of another node", async () => {
    await using on = await stage();
    const sessionId = await on.open();
    using other = await onlineAgent(on.sandbox, await enrolled(on.sandbox, "demo-2"));
    const body = { direction: "stdout", payload: "" };
    for (const [agent, id] of [
      [on.agent, uuid],
      [other, sessionId],
    ] as const) {
      expect(await agent.ask("terminal.output", { ...body, sessionId: id })).toEqual({
        ok: false,
        eventType: "terminal.output",
        message: `Terminal session ${id} was not found.`,
      });
    }
  });

  test("but not the largest frame there may be", async () => {
    await using on = await stage();
    const payload = Buffer.alloc(49_152, 0xff).toString("base64");
    expect(payload).toHaveLength(65_536);
    expect(await on.output(await on.open(), "", { payload })).toMatchObject({ seq: 1 });
  });
});

test("300 frames without waiting for acks arrive out of order, with waiting in order", async () => {
  await using on = await stage({ frameRaceWindow: 2 });
  const inversions = (id: string): number => {
    const order = on.sandbox.transcript(id).map(({ payload }) => Number(plain(payload)));
    expect(order).toHaveLength(300);
    return order.filter((n, at) => n < (order[at - 1] ?? -1)).length;
  };
  const flooded = await on.open();
  await Promise.all(Array.from({ length: 300 }, (_, n) => on.output(flooded, String(n))));
  expect(inversions(flooded)).toBeGreaterThan(20);
  const paced = await on.open();
  for (let n = 0; n < 300; n++) await on.output(paced, String(n));
  expect(inversions(paced)).toBe(0);
});

test("sessions, transcripts and their limits outlive a restart of the control plane", async () => {
  const { mkdtempSync, rmSync } = await import("node:fs");
  const { tmpdir } = await import("node:os");
  const data = mkdtempSync(`${tmpdir()}/terminals-`);
  const first = await sandboxWith({ data });
  const node = await enrolled(first);
  using agent = await onlineAgent(first, node);
  const [pending, open] = [
    first.openTerminal({ node: node.id }).id,
    first.openTerminal({ node: node.id }).id,
  ];
  await agent.ask("terminal.opened", { sessionId: open });
  await agent.ask("terminal.output", { sessionId: open, direction: "stdout", payload: "YQ==" });
  await first.stop();
  await using second = await sandboxWith({ data, timings: { terminalOpenLimit: 20 } });
  await until(() => second.terminal(pending).status === "failed");
  using again = await onlineAgent(second, node);
  const body = { sessionId: open, direction: "stdout", payload: "Yg==" };
  expect(await again.ask("terminal.output", body)).toMatchObject({ seq: 2 });
  rmSync(data, { recursive: true });
});
