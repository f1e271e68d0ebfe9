// `sandbox terminal` as a separate process: in a pseudo-terminal of its own, and with pipes. The node is a bare
// Socket.IO client with a real shell behind it.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { milliseconds } from "../../../src/lib/duration.ts";
import type { Sandbox } from "../../../src/sandbox/sandbox.ts";
import { type AgentSocket, onlineAgent } from "../sandbox/agent-socket.ts";
import { enrolled, sandboxWith, until } from "../sandbox/harness.ts";
import { detachKeys } from "../../../src/cli/commands/sandbox/detach-keys.ts";

setDefaultTimeout(150_000);

const main = join(import.meta.dir, "../../../src/main.ts");
const temporary = mkdtempSync(join(tmpdir(), "sandbox-terminal-"));
let sandbox: Sandbox;
let agent: AgentSocket;
const shells = new Map<string, Bun.Subprocess>();

/** Serves terminals as an agent does: one shell each, one frame in flight, the exit code at the end. */
function serveShells(agent: AgentSocket): void {
  const { socket } = agent;
  interface Message {
    readonly sessionId: string;
    readonly cols: number;
    readonly rows: number;
    readonly payload: string;
  }
  socket.on("terminal.start", ({ sessionId, cols, rows }: Message) => {
    let sending: Promise<unknown> = Promise.resolve();
    const send = (event: string, body: object): void => {
      sending = sending.then(() => agent.ask(event, { sessionId, ...body }).catch(() => {}));
    };
    const shell = Bun.spawn(["/bin/sh"], {
      env: { PATH: "/usr/bin:/bin", PS1: "ready$ ", TERM: "xterm-256color" },
      cwd: temporary,
      terminal: {
        cols,
        rows,
        data: (_, bytes) =>
          send("terminal.output", { direction: "stdout", payload: Buffer.from(bytes).toString("base64") }),
      },
    });
    shells.set(sessionId, shell);
    send("terminal.opened", { cols, rows });
    void shell.exited.then(async () => {
      await Bun.sleep(20); // The last output is read a moment after the end.
      send("terminal.exited", { exitCode: shell.exitCode });
    });
  });
  socket.on("terminal.input", ({ sessionId, payload }: Message) =>
    shells.get(sessionId)?.terminal?.write(Buffer.from(payload, "base64")),
  );
  socket.on("terminal.resize", ({ sessionId, cols, rows }: Message) =>
    shells.get(sessionId)?.terminal?.resize(cols, rows),
  );
  socket.on("terminal.stop", ({ sessionId }: Message) => shells.get(sessionId)?.kill("SIGKILL"));
}

beforeAll(async () => {
  sandbox = await sandboxWith();
  agent = await onlineAgent(sandbox, await enrolled(sandbox));
  serveShells(agent);
});
afterAll(async () => {
  for (const shell of shells.values()) shell.kill("SIGKILL");
  agent.socket.disconnect();
  await sandbox.stop();
  rmSync(temporary, { recursive: true });
});

const environment = (): Record<string, string> => ({
  PATH: "/usr/bin:/bin",
  TMPDIR: temporary,
  TERM: "xterm-256color",
  NODERAX_SANDBOX_URL: sandbox.url,
  NODERAX_SANDBOX_TOKEN: sandbox.operatorToken,
});

async function piped(
  input: string,
  ...args: string[]
): Promise<{ code: number; out: string; notes: string }> {
  const child = Bun.spawn([process.execPath, main, "sandbox", "terminal", ...args], {
    env: environment(),
    stdin: Buffer.from(input),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, notes, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, out, notes };
}

/** Runs the command under a shell in a pseudo-terminal, so that the state it leaves can be checked. */
function person(command = `"$RUN" "$MAIN" sandbox terminal demo-1`) {
  let screen = "";
  const decoder = new TextDecoder();
  const child = Bun.spawn(["/bin/sh", "-c", `${command}; echo "exit=$?"; stty -a`], {
    env: { ...environment(), RUN: process.execPath, MAIN: main },
    terminal: {
      cols: 97,
      rows: 31,
      data: (_, bytes) => void (screen += decoder.decode(bytes, { stream: true })),
    },
  });
  return {
    child,
    screen: () => screen,
    type: (keys: string) => void child.terminal?.write(keys),
    shows: (text: string) => until(() => screen.includes(text), 8_000).catch(() => fail(text, screen)),
    [Symbol.dispose]() {
      child.kill("SIGKILL");
      child.terminal?.close();
    },
  };
}

function fail(text: string, screen: string): never {
  throw new Error(`the terminal never showed ${JSON.stringify(text)}, but ${JSON.stringify(screen)}`);
}

/** Line feeds translated, canonical input, echo: as a shell expects its terminal to be. */
const sane = /\nopost[^]* icanon[^]* echo /;

test("a terminal passes size, keys, Ctrl-C, resizing and the exit code, and is restored", async () => {
  using at = person();
  await at.shows("Enter ~ .");
  await at.shows("ready$ ");
  at.type("stty size\r");
  await at.shows("31 97");
  at.child.terminal?.resize(111, 41);
  await until(() => sandbox.terminals().some(({ cols }) => cols === 111));
  at.type("stty size\r");
  await at.shows("41 111");
  at.type("sleep 100\r");
  await at.shows("sleep 100\r\n");
  at.type("\u0003");
  at.type("echo al''ive\r");
  await at.shows("alive");
  at.type("exit 42\r");
  await at.shows("exit=42");
  await at.child.exited;
  expect(at.screen()).toMatch(sane);
});

test("Enter ~ . detaches: the shell runs on, the terminal is restored, and --session attaches again", async () => {
  using at = person();
  await at.shows("ready$ ");
  at.type("marker=kept\r");
  await at.shows("marker=kept\r\n");
  at.type("~.");
  await at.shows("exit=0");
  await at.child.exited;
  expect(at.screen()).toMatch(sane);
  const { id, status } = sandbox.terminals().at(-1) ?? { id: "", status: "" };
  expect(status).toBe("open");
  using again = person(`"$RUN" "$MAIN" sandbox terminal demo-1 --session ${id.slice(0, 8)}`);
  await again.shows("marker=kept");
  again.type("echo is-$marker\r");
  await again.shows("is-kept");
  again.type("exit\r");
  await again.shows("exit=0");
});

test.each([
  ["SIGTERM", 143],
  ["SIGHUP", 129],
])("%s ends the shell, restores the terminal and exits with %i", async (signal, code) => {
  using at = person(`sh -c 'echo "pid=$$"; exec "$RUN" "$MAIN" sandbox terminal demo-1'`);
  await at.shows("ready$ ");
  const [, pid = ""] = /pid=(\d+)/.exec(at.screen()) ?? [];
  process.kill(Number(pid), signal);
  await at.shows(`exit=${code}`);
  await at.child.exited;
  expect(at.screen()).toMatch(sane);
  await until(() => sandbox.terminals().at(-1)?.status === "closed");
});

test("a sandbox that ends is exit code 4, and the terminal is restored", async () => {
  await using passing = await sandboxWith();
  using its = await onlineAgent(passing, await enrolled(passing));
  serveShells(its);
  const where = `NODERAX_SANDBOX_URL=${passing.url} NODERAX_SANDBOX_TOKEN=${passing.operatorToken}`;
  using at = person(`${where} "$RUN" "$MAIN" sandbox terminal demo-1`);
  await at.shows("ready$ ");
  await passing.stop();
  await at.shows("exit=4");
  await at.child.exited;
  expect(at.screen()).toContain("was lost");
  expect(at.screen()).toMatch(sane);
});

test("a pipe is typed in, the output printed, and the shell's exit code returned", async () => {
  const { code, out } = await piped("echo sum-$((40+2)); exit 7\n", "demo-1");
  expect(out).toContain("sum-42");
  expect(code).toBe(7);
});

test("the end of the pipe ends a shell that waits for more, also without a newline", async () => {
  const { code, out } = await piped("echo sum-$((40+3))", "demo-1");
  expect(out).toContain("sum-43");
  expect(code).toBe(0);
});

test("an unknown node is named with those there are; an offline one is exit code 4", async () => {
  const unknown = await piped("", "demo-2");
  expect([unknown.code, unknown.notes]).toEqual([1, expect.stringContaining("demo-1")]);
  await enrolled(sandbox, "asleep");
  const offline = await piped("", "asleep");
  expect([offline.code, offline.notes]).toEqual([4, expect.stringContaining("asleep is offline")]);
});

test("root where the node has not applied it is refused with exit code 5", async () => {
  const { code, notes } = await piped("", "demo-1", "--root");
  expect(notes).toContain("does not currently allow terminal root access");
  expect(code).toBe(5);
});

test("a terminal its owner forbids is exit code 5 with the reason; one that never opens is 4", async () => {
  using strict = await onlineAgent(sandbox, await enrolled(sandbox, "strict"));
  strict.socket.on("terminal.start", ({ sessionId }: { sessionId: string }) =>
    strict.socket.emit("terminal.error", { sessionId, message: "terminals are not allowed here" }),
  );
  const refused = await piped("", "strict");
  expect([refused.code, refused.notes]).toEqual([
    5,
    expect.stringContaining("strict opened no terminal: terminals are not allowed here"),
  ]);
  using _mute = await onlineAgent(sandbox, await enrolled(sandbox, "mute"));
  const { terminalOpenLimit } = sandbox.timings;
  sandbox.setTimings({ terminalOpenLimit: milliseconds(100) });
  const silent = await piped("", "mute");
  sandbox.setTimings({ terminalOpenLimit });
  expect([silent.code, silent.notes]).toEqual([
    4,
    expect.stringContaining("mute did not open a terminal in time"),
  ]);
});

test("a tilde detaches only before a full stop at the beginning of a line, and ~~ types one", () => {
  const typed = (...pieces: string[]): [string, boolean] => {
    const read = detachKeys();
    const all = pieces.map((piece) => read(new TextEncoder().encode(piece)));
    const text = all.map(({ bytes }) => new TextDecoder().decode(bytes)).join("");
    return [text, all.some(({ detach }) => detach)];
  };
  expect(typed("~.")).toEqual(["", true]);
  expect(typed("ls\r", "~", ".")).toEqual(["ls\r", true]);
  expect(typed("ls ~.\r")).toEqual(["ls ~.\r", false]);
  expect(typed("~/bin\r")).toEqual(["~/bin\r", false]);
  expect(typed("~~.\r")).toEqual(["~.\r", false]);
  expect(typed("a~\r~.")).toEqual(["a~\r", true]);
});
