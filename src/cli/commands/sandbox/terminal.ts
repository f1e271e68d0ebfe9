// `sandbox terminal`: a shell on a node in one's own terminal; with a pipe as input, what a script types into it.
import * as v from "valibot";
import { shortId } from "../../../lib/text.ts";
import { AgentError, exit, type ExitCode } from "../../../lib/agent-error.ts";
import { milliseconds } from "../../../lib/duration.ts";
import { STDOUT, write } from "../../../platform/stdio.ts";
import { TERMINAL_COLS, TERMINAL_ROWS } from "../../../protocol/noderax/terminal.ts";
import { NodeDocument, TERMINAL_NOT_OPENED, TerminalDocument } from "../../../sandbox/documents.ts";
import { command } from "../../command.ts";
import { note } from "../../ui/output.ts";
import { type Operator, operator, operatorArgs } from "./client.ts";
import { detachKeys } from "./detach-keys.ts";
import { typePipe } from "./pipe-input.ts";

export default command({
  name: "terminal",
  description: "open a shell on a node",
  examples: [
    "sandbox terminal demo-1",
    "sandbox terminal demo-1 --root",
    "sandbox terminal demo-1 < commands.txt",
  ],
  args: {
    node: { type: "positional", required: true, description: "the node's name or id" },
    root: { type: "boolean", description: "a root shell, where the node's root-access profile allows it" },
    session: {
      type: "string",
      description: "come back to a terminal that was detached from",
      valueHint: "id",
    },
    url: operatorArgs.url,
    token: operatorArgs.token,
  },
  async run({ args }): Promise<ExitCode> {
    const sandbox = operator(args);
    const node = await sandbox.call("GET", `/nodes/${encodeURIComponent(args.node)}`, NodeDocument);
    const terminal = args.session
      ? await sandbox.call("GET", `/terminals/${encodeURIComponent(args.session)}`, TerminalDocument)
      : await start(sandbox, node, args.root ?? false);
    const end = await attach(sandbox, node.name, terminal.id);
    if (end === "detached") return exit.done;
    return typeof end === "number" ? shellsOwn(end) : exitOf(node.name, end);
  },
});

function start(sandbox: Operator, node: NodeDocument, root: boolean): Promise<TerminalDocument> {
  if (node.status === "offline") {
    throw new AgentError("sandbox.offline", `${node.name} is offline`, {
      exit: exit.unreachable,
      hint: [
        "is its agent running?  noderax-agent status",
        `when it was last seen:  noderax-agent sandbox show ${node.name}`,
      ],
    });
  }
  const request = { node: node.id, ...ownSize(), run_as_root: root };
  return sandbox.call("POST", "/terminals", TerminalDocument, request);
}

/** Wider than our own codes on purpose: who runs a shell wants its code. */
const shellsOwn = (code: number): ExitCode => (code & 0xff) as ExitCode;

/** The shell's exit code, whatever it is; throws when there was no shell, or it ended otherwise. */
function exitOf(name: string, { exit_code, closed_reason, opened_at, status }: TerminalDocument): ExitCode {
  if (status === "closed" && exit_code !== null) return shellsOwn(exit_code);
  const reason = closed_reason ?? "no reason given";
  if (status === "closed") throw new AgentError("sandbox.terminal", `the terminal was closed: ${reason}`);
  if (opened_at !== null)
    throw new AgentError("sandbox.terminal", `the terminal on ${name} failed: ${reason}`);
  const silent = reason === TERMINAL_NOT_OPENED;
  throw new AgentError(
    "sandbox.terminal",
    silent ? `${name} did not open a terminal in time` : `${name} opened no terminal: ${reason}`,
    {
      exit: silent ? exit.unreachable : exit.refused,
      hint: silent ? `is its agent connected?  noderax-agent sandbox show ${name}` : undefined,
    },
  );
}

const News = v.variant("type", [
  v.object({ type: v.literal("state"), terminal: TerminalDocument }),
  v.object({ type: v.literal("error"), message: v.string() }),
]);

/** How it ended: with a final state, by the detach keys, or with the exit code for a signal to us. */
type End = TerminalDocument | "detached" | number;

/** What is said to the server after a signal gets this long to leave the process. */
const FAREWELL = milliseconds(200);

/** Joins this process's input and output with the terminal until it is over, or the person has left it. */
async function attach(sandbox: Operator, name: string, id: string): Promise<End> {
  const socket = sandbox.socket(`/terminals/${id}/attach`);
  socket.binaryType = "arraybuffer";
  const tell = (message: object): void => socket.send(JSON.stringify(message));
  const { promise, resolve, reject } = Promise.withResolvers<End>();
  let input: Disposable | undefined;
  let signalled: number | undefined;
  using _signals = onSignals((code) => {
    signalled = code;
    input?.[Symbol.dispose]();
    if (socket.readyState === WebSocket.OPEN) tell({ type: "stop", reason: "the operator's client ended" });
    setTimeout(() => resolve(code), FAREWELL);
  });

  const begin = (): Disposable => {
    if (!process.stdin.isTTY) return typePipe(socket, process.stdin);
    const type = (bytes: Uint8Array): void => void (bytes.length > 0 && socket.send(bytes));
    note(`connected to ${name}; Enter ~ . leaves the shell running (come back: --session ${shortId(id)})`);
    const resize = (): void => tell({ type: "resize", ...ownSize() });
    resize();
    return typeKeys(type, resize, () => resolve("detached"));
  };
  const hear = (text: string): void => {
    const news = v.parse(News, JSON.parse(text));
    // A key typed while the shell was ending is no loss worth a word.
    if (news.type === "error") return;
    const { status } = news.terminal;
    if (status === "open" && signalled === undefined) input ??= begin();
    if (status === "closed" || status === "failed") resolve(signalled ?? news.terminal);
  };
  socket.addEventListener("message", ({ data }: MessageEvent<string | ArrayBuffer>) => {
    try {
      if (typeof data !== "string") write(STDOUT, new Uint8Array(data));
      else hear(data);
    } catch (error) {
      reject(error);
    }
  });
  socket.addEventListener("close", () => reject(lost(sandbox.url)));
  try {
    return await promise;
  } finally {
    input?.[Symbol.dispose]();
    socket.close();
  }
}

const lost = (url: string): AgentError =>
  new AgentError("sandbox.unreachable", `the connection to the sandbox at ${url} was lost`, {
    exit: exit.unreachable,
  });

/** The window of this terminal, within what the control plane takes; nothing where there is none. */
function ownSize(): { cols?: number; rows?: number } {
  const { columns, rows, isTTY } = process.stdout;
  if (!isTTY || !columns || !rows) return {};
  const clamp = (value: number, { min, max }: { min: number; max: number }): number =>
    Math.min(max, Math.max(min, value));
  return { cols: clamp(columns, TERMINAL_COLS), rows: clamp(rows, TERMINAL_ROWS) };
}

/** Every key goes to the shell, Ctrl-C too, until it is disposed of: then the terminal is as it was. */
function typeKeys(type: (bytes: Uint8Array) => void, resize: () => void, detach: () => void): Disposable {
  const { stdin, stdout } = process;
  const read = detachKeys();
  const hear = (keys: Buffer): void => {
    const { bytes, detach: left } = read(keys);
    type(bytes);
    if (left) detach();
  };
  const restore = (): void => void stdin.setRawMode(false);
  stdin.setRawMode(true);
  // Raw mode leaves line feeds to be turned into CR LF, which breaks programs that draw. Undone by the restoring too.
  Bun.spawnSync(["stty", "-opost"], { stdin: "inherit", stdout: "ignore", stderr: "ignore" });
  process.on("exit", restore);
  stdin.on("data", hear);
  stdout.on("resize", resize);
  return {
    [Symbol.dispose]() {
      stdin.off("data", hear);
      stdout.off("resize", resize);
      stdin.pause();
      restore();
      process.off("exit", restore);
    },
  };
}

const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/** Tells of a signal by the exit code that is usual for it. */
function onSignals(hear: (code: number) => void): Disposable {
  const listeners = Object.entries(SIGNALS).map(([signal, code]) => {
    const listener = (): void => hear(code);
    process.once(signal, listener);
    return { signal, listener };
  });
  return {
    [Symbol.dispose]() {
      for (const { signal, listener } of listeners) process.off(signal, listener);
    },
  };
}
