// `sandbox terminal`: opens a shell on a node in this terminal, or types the input of a pipe into one.
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
      description: "attach to a terminal that is still open",
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
    return typeof end === "number" ? shellCode(end) : exitOf(node.name, end);
  },
});

function start(sandbox: Operator, node: NodeDocument, root: boolean): Promise<TerminalDocument> {
  if (node.status === "offline") {
    throw new AgentError("sandbox.offline", `${node.name} is offline`, {
      exit: exit.unreachable,
      hint: [
        "Is its agent running?  noderax-agent status",
        `When it was last seen:  noderax-agent sandbox show ${node.name}`,
      ],
    });
  }
  const request = { node: node.id, ...ownSize(), run_as_root: root };
  return sandbox.call("POST", "/terminals", TerminalDocument, request);
}

/** The shell's exit code, cast since it may be none of ours: the caller wants that of the shell. */
const shellCode = (code: number): ExitCode => (code & 0xff) as ExitCode;

/** Returns the shell's exit code. Throws "sandbox.terminal" when no shell was opened, or it was closed from outside. */
function exitOf(name: string, { exit_code, closed_reason, opened_at, status }: TerminalDocument): ExitCode {
  if (status === "closed" && exit_code !== null) return shellCode(exit_code);
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
      hint: silent ? `Is its agent connected?  noderax-agent sandbox show ${name}` : undefined,
    },
  );
}

const TerminalEvent = v.variant("type", [
  v.object({ type: v.literal("state"), terminal: TerminalDocument }),
  v.object({ type: v.literal("error"), message: v.string() }),
]);

/** A final state, the detach keys, or the exit code for a signal to this process. */
type AttachEnd = TerminalDocument | "detached" | number;

/** After a signal: time for the stop message to be sent. */
const STOP_TIMEOUT = milliseconds(200);

/** Joins this process's input and output with the terminal until it ends or the person detaches. Throws "sandbox.unreachable". */
async function attach(sandbox: Operator, name: string, id: string): Promise<AttachEnd> {
  const socket = sandbox.socket(`/terminals/${id}/attach`);
  socket.binaryType = "arraybuffer";
  const sendEvent = (message: object): void => socket.send(JSON.stringify(message));
  const { promise, resolve, reject } = Promise.withResolvers<AttachEnd>();
  let input: Disposable | undefined;
  let signalled: number | undefined;
  using _signals = onSignals((code) => {
    signalled = code;
    input?.[Symbol.dispose]();
    if (socket.readyState === WebSocket.OPEN)
      sendEvent({ type: "stop", reason: "the operator's client ended" });
    setTimeout(() => resolve(code), STOP_TIMEOUT);
  });

  const begin = (): Disposable => {
    if (!process.stdin.isTTY) return typePipe(socket, process.stdin);
    const type = (bytes: Uint8Array): void => void (bytes.length > 0 && socket.send(bytes));
    note(`connected to ${name}; Enter ~ . leaves the shell running (come back: --session ${shortId(id)})`);
    const resize = (): void => sendEvent({ type: "resize", ...ownSize() });
    resize();
    return typeKeys(type, resize, () => resolve("detached"));
  };
  const onEvent = (text: string): void => {
    const event = v.parse(TerminalEvent, JSON.parse(text));
    // Caused by keys typed while the shell was ending: not worth a message.
    if (event.type === "error") return;
    const { status } = event.terminal;
    if (status === "open" && signalled === undefined) input ??= begin();
    if (status === "closed" || status === "failed") resolve(signalled ?? event.terminal);
  };
  socket.addEventListener("message", ({ data }: MessageEvent<string | ArrayBuffer>) => {
    try {
      if (typeof data !== "string") write(STDOUT, new Uint8Array(data));
      else onEvent(data);
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

/** Returns the size of this terminal, within the control plane's limits; empty without a terminal. */
function ownSize(): { cols?: number; rows?: number } {
  const { columns, rows, isTTY } = process.stdout;
  if (!isTTY || !columns || !rows) return {};
  const clamp = (value: number, { min, max }: { min: number; max: number }): number =>
    Math.min(max, Math.max(min, value));
  return { cols: clamp(columns, TERMINAL_COLS), rows: clamp(rows, TERMINAL_ROWS) };
}

/** Sends every key to the shell, Ctrl-C included, until disposed; that restores the terminal. */
function typeKeys(type: (bytes: Uint8Array) => void, resize: () => void, detach: () => void): Disposable {
  const { stdin, stdout } = process;
  const read = detachKeys();
  const onKeys = (keys: Buffer): void => {
    const { bytes, detach: isDetach } = read(keys);
    type(bytes);
    if (isDetach) detach();
  };
  const restore = (): void => void stdin.setRawMode(false);
  stdin.setRawMode(true);
  // Raw mode still turns LF into CR LF, which breaks full-screen programs. `restore` undoes this, too.
  Bun.spawnSync(["stty", "-opost"], { stdin: "inherit", stdout: "ignore", stderr: "ignore" });
  process.on("exit", restore);
  stdin.on("data", onKeys);
  stdout.on("resize", resize);
  return {
    [Symbol.dispose]() {
      stdin.off("data", onKeys);
      stdout.off("resize", resize);
      stdin.pause();
      restore();
      process.off("exit", restore);
    },
  };
}

const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/** Calls `onSignal` with the conventional exit code of the first signal of each kind, until disposed. */
function onSignals(onSignal: (code: number) => void): Disposable {
  const listeners = Object.entries(SIGNALS).map(([signal, code]) => {
    const listener = (): void => onSignal(code);
    process.once(signal, listener);
    return { signal, listener };
  });
  return {
    [Symbol.dispose]() {
      for (const { signal, listener } of listeners) process.off(signal, listener);
    },
  };
}
