// Events about terminals that no control plane should send: answered in words or ignored, and the agent lives on.
import { randomUUID } from "node:crypto";
import { afterAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { type AgentNode, TEST_LIMIT, asRoot, enrolledAgent } from "../support/agent.ts";
import { until } from "../support/until.ts";
import { seconds } from "../../src/lib/duration.ts";
import { type Hostile, hostile } from "../support/hostile.ts";

setDefaultTimeout(TEST_LIMIT);

interface Wilderness extends AsyncDisposable {
  readonly plane: Hostile;
  readonly node: AgentNode;
  says(event: string, ...body: unknown[]): void;
  /** What the agent said of a session. */
  heard(event: string, id: string): Record<string, unknown>[];
  hears(event: string, id: string): Promise<Record<string, unknown>>;
  output(id: string): string;
  /** Opens a shell that shows its output only. */
  opens(): Promise<string>;
  types(id: string, text: string): void;
  /** The agent does as it is told in the terminal. */
  works(id: string): Promise<void>;
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");

async function wilderness(settings = {}): Promise<Wilderness> {
  const plane = hostile();
  plane.onEvent((event, answer) =>
    answer(
      event === "terminal.output"
        ? { ok: true, seq: 1 }
        : { ok: true, ...(event === "terminal.opened" ? { status: "open" } : {}) },
    ),
  );
  const node = await enrolledAgent({
    settings: { api_url: plane.url, terminal_kill_grace: "400ms", ...settings },
    started: false,
  });
  plane.leadsTo(node.plane.url);
  await node.starts();
  await until("the session is online", () => node.agent.status().noderax?.session?.state === "online");
  const heard = (event: string, id: string): Record<string, unknown>[] =>
    plane.heard.filter((one) => one.event === event && one.body["sessionId"] === id).map(({ body }) => body);
  let marks = 0;
  const wild: Wilderness = {
    plane,
    node,
    heard,
    says: (event, ...body) => void plane.socket().emit(event, ...body),
    async hears(event, id) {
      await until(
        `${event} of ${id}`,
        () => heard(event, id).length > 0,
        undefined,
        () => node.story(),
      );
      return heard(event, id)[0] ?? {};
    },
    output: (id) =>
      heard("terminal.output", id)
        .map(({ payload }) => Buffer.from(String(payload), "base64").toString())
        .join(""),
    async opens() {
      const id = randomUUID();
      wild.says("terminal.start", { type: "terminal.start", sessionId: id, cols: 80, rows: 24 });
      await wild.hears("terminal.opened", id);
      return id;
    },
    types: (id, text) => wild.says("terminal.input", { sessionId: id, payload: base64(text) }),
    async works(id) {
      const mark = `works-${++marks}`;
      wild.types(id, `echo '${mark.slice(0, 3)}''${mark.slice(3)}'\n`);
      await until(
        `${mark} is shown`,
        () => wild.output(id).includes(`${mark}\r\n`),
        undefined,
        () => wild.output(id).slice(-300) + node.story(),
      );
    },
    async [Symbol.asyncDispose]() {
      await node[Symbol.asyncDispose]();
      await plane[Symbol.asyncDispose]();
    },
  };
  return wild;
}

const NO_SESSION: [string, unknown[]][] = [
  ["nothing at all", []],
  ["null", [null]],
  ["a number", [42]],
  ["a text", ["terminal"]],
  ["a list", [[1, 2]]],
  ["no sessionId", [{ cols: 80, rows: 24 }]],
  ["a sessionId that is no uuid", [{ sessionId: "../../etc/passwd", cols: 80, rows: 24 }]],
  ["a sessionId of the wrong type", [{ sessionId: 7, cols: 80, rows: 24 }]],
  ["an object nested deeply", [JSON.parse(`${'{"a":'.repeat(2_000)}1${"}".repeat(2_000)}`)]],
  ["bytes", [Buffer.from("terminal")]],
  ["several arguments", [{ sessionId: "x" }, 2, "three"]],
  ["__proto__", [JSON.parse('{"__proto__":{"sessionId":"x"},"constructor":1}')]],
];

test("events without a session are ignored, whatever they hold", async () => {
  await using wild = await wilderness();
  const id = await wild.opens();
  const before = wild.plane.heard.filter(({ event }) => /^terminal\.(error|exited)$/.test(event)).length;
  for (const event of ["terminal.start", "terminal.input", "terminal.resize", "terminal.stop", "terminal."])
    for (const [, body] of NO_SESSION) wild.says(event, ...body);
  await wild.works(id);
  expect(wild.plane.heard.filter(({ event }) => /^terminal\.(error|exited)$/.test(event))).toHaveLength(
    before,
  );
  expect(wild.plane.count("terminal.opened")).toBe(1);
  expect(wild.plane.came.count).toBe(1);
});

describe("a start is refused in words", () => {
  test.each([
    ["too narrow", { cols: 19, rows: 24 }, "cols"],
    ["too wide", { cols: 401, rows: 24 }, "cols"],
    ["too low", { cols: 80, rows: 9 }, "rows"],
    ["too high", { cols: 80, rows: 201 }, "rows"],
    ["of half a column", { cols: 80.5, rows: 24 }, "cols"],
    ["of a negative size", { cols: -80, rows: 24 }, "cols"],
    ["of endless size", { cols: 1e308, rows: 24 }, "cols"],
    ["of a size in letters", { cols: "80", rows: 24 }, "cols"],
    ["with a list for a size", { cols: 80, rows: [24] }, "rows"],
    ["as root perhaps", { cols: 80, rows: 24, runAsRoot: "yes" }, "runAsRoot"],
    ["as root, which no profile allows", { cols: 80, rows: 24, runAsRoot: true }, "No root terminal"],
  ])("when it is %s", async (_, size, named) => {
    const wild = await shared();
    const id = randomUUID();
    wild.says("terminal.start", { type: "terminal.start", sessionId: id, ...size });
    const { message } = await wild.hears("terminal.error", id);
    expect(message).toContain(named);
    expect(String(message).length).toBeLessThanOrEqual(1_000);
    expect(wild.heard("terminal.opened", id)).toEqual([]);
  });

  test("and one without a size has the usual one", async () => {
    const wild = await shared();
    for (const size of [{}, { cols: 0, rows: 0 }]) {
      const id = randomUUID();
      wild.says("terminal.start", { sessionId: id, ...size, colour: "green" });
      expect(await wild.hears("terminal.opened", id)).toMatchObject({ cols: 120, rows: 34 });
      wild.says("terminal.stop", { sessionId: id });
      expect(await wild.hears("terminal.exited", id)).toHaveProperty("exitCode");
    }
  });
});

const BOO = base64("echo boo\n");

describe("a live terminal goes on", () => {
  let live: string | undefined;
  const garbage: [string, string, object][] = [
    ["input that is no base64", "terminal.input", { payload: `${BOO}§!` }],
    [
      "input of the url-safe alphabet",
      "terminal.input",
      { payload: base64("echo boo #???>>>\n").replaceAll("/", "_").replaceAll("+", "-") },
    ],
    ["input of a wrong length", "terminal.input", { payload: `${BOO}A` }],
    ["input with a line feed in it", "terminal.input", { payload: BOO.replace("b", "b\n") }],
    ["input without a payload", "terminal.input", {}],
    ["input that is an object", "terminal.input", { payload: { toString: "ls" } }],
    ["input above the limit", "terminal.input", { payload: base64("x\n".repeat(12_300)) }],
    ["input of 3 MB", "terminal.input", { payload: base64("x\n".repeat(1_100_000)) }],
    ["a size out of range", "terminal.resize", { cols: 5_000, rows: 5_000 }],
    ["a size of nothing", "terminal.resize", { cols: 0, rows: 0 }],
    ["half a size", "terminal.resize", { cols: 100 }],
    ["a size that is none", "terminal.resize", { cols: null, rows: "high" }],
    ["a second start", "terminal.start", { cols: 80, rows: 24 }],
    ["a second start, malformed", "terminal.start", { cols: "80" }],
    ["a second start as root", "terminal.start", { cols: 80, rows: 24, runAsRoot: true }],
    ["an event nobody knows", "terminal.explode", {}],
  ];
  test.each(garbage)("after %s", async (_, event, body) => {
    const wild = await shared();
    const id = (live ??= await wild.opens());
    wild.says(event, { sessionId: id, ...body });
    await wild.works(id);
    expect(wild.output(id)).not.toMatch(/^(boo|.*x: command not found)\r$/m);
    expect(wild.heard("terminal.error", id)).toEqual([]);
    expect(wild.heard("terminal.exited", id)).toEqual([]);
    expect(wild.heard("terminal.opened", id)).toHaveLength(1);
    expect(wild.plane.came.count).toBe(1);
  });

  test("with its size, whatever was said of others", async () => {
    const wild = await shared();
    const id = (live ??= await wild.opens());
    wild.types(id, "stty size\n");
    await until("its size is shown", () => wild.output(id).includes("24 80\r\n"));
  });
});

test.each([{ because: 1 }, 7, [["x"]]])("a stop for the reason %j is a stop", async (reason) => {
  const wild = await shared();
  const id = await wild.opens();
  wild.says("terminal.stop", { sessionId: id, reason });
  expect(await wild.hears("terminal.exited", id)).toMatchObject({
    reason: "terminated by the control plane",
  });
});

test("a payload of 10 MB costs the socket, not the terminal and not the agent", async () => {
  await using wild = await wilderness();
  const id = await wild.opens();
  await wild.works(id);
  wild.says("terminal.input", { sessionId: id, payload: "A".repeat(10_000_000) });
  await until("the agent is back", () => wild.plane.came.count === 2);
  await until("it is online", () => wild.node.agent.status().noderax?.session?.state === "online");
  await wild.works(id);
  expect(wild.heard("terminal.exited", id)).toEqual([]);
});

test("a storm of events about sessions nobody has is answered once for each", async () => {
  await using wild = await wilderness();
  const begun = performance.now();
  const ids = Array.from({ length: 50 }, () => randomUUID());
  for (let round = 0; round < 20; round++)
    for (const id of ids) {
      wild.types(id, "ls\n");
      wild.says("terminal.resize", { sessionId: id, cols: 80, rows: 24 });
      wild.says("terminal.stop", { sessionId: id, reason: null });
    }
  for (const id of ids) await wild.hears("terminal.exited", id);
  const id = await wild.opens();
  await wild.works(id);
  // Once, and again after five seconds.
  const most = 1 + Math.floor((performance.now() - begun) / seconds(5));
  for (const one of ids) expect(wild.heard("terminal.exited", one).length).toBeWithin(1, most + 1);
});

test("a storm of starts opens as many terminals as may be, and refuses the others", async () => {
  await using wild = await wilderness({ max_terminals: 3 });
  const ids = Array.from({ length: 60 }, () => randomUUID());
  for (const id of ids) wild.says("terminal.start", { sessionId: id, cols: 80, rows: 24 });
  for (const id of ids.slice(0, 3)) await wild.hears("terminal.opened", id);
  for (const id of ids.slice(3))
    expect((await wild.hears("terminal.error", id))["message"]).toContain("3 open terminals");
  await wild.works(ids[0] ?? "");
});

test.each([
  ["refuses", { ok: false, message: "Terminal session was not found." }],
  ["calls failed", { ok: true, status: "failed" }],
  ["calls closed", { ok: true, status: "closed" }],
])("a shell whose opening the control plane %s is ended", async (_, answer) => {
  await using wild = await wilderness();
  wild.plane.onEvent((event, reply) => reply(event === "terminal.opened" ? answer : { ok: true, seq: 1 }));
  const id = await wild.opens();
  await until("it is over", () => wild.node.agent.status().noderax?.terminals?.length === 0);
  expect(wild.heard("terminal.output", id)).toEqual([]);
});

test.skipIf(!asRoot)("the owner's veto stands against any profile (needs root)", async () => {
  await using wild = await wilderness({ allow_root_terminals: false });
  wild.says("root-access.updated", {
    type: "root-access.updated",
    rootAccess: { profile: "all", updatedAt: new Date().toISOString() },
  });
  const id = randomUUID();
  wild.says("terminal.start", { sessionId: id, cols: 80, rows: 24, runAsRoot: true });
  expect((await wild.hears("terminal.error", id))["message"]).toContain("allow_root_terminals");
});

let common: Promise<Wilderness> | undefined;
/** One for all of the small questions. */
const shared = (): Promise<Wilderness> => (common ??= wilderness());
afterAll(async () => (await common)?.[Symbol.asyncDispose]());
