// The realtime side of an agent, bare: a Socket.IO client that sends whatever a test wants, and what it heard.
import { type Socket, io } from "socket.io-client";
import type { Sandbox } from "../../../src/sandbox/sandbox.ts";
import { type TestNode, until } from "./harness.ts";

export type Json = Record<string, unknown>;

export interface AgentSocket extends Disposable {
  readonly socket: Socket;
  /** Everything the server sent, in order. */
  readonly heard: { readonly event: string; readonly body: Json }[];
  /** Why it was disconnected, once it was. */
  reason(): string | undefined;
  /** Sends an event and waits for its ack; rejects when none comes. */
  ask(event: string, body?: unknown): Promise<Json>;
  auth(node: Pick<TestNode, "id" | "token">, more?: Json): Promise<Json>;
  hears(event: string): Promise<Json>;
}

const PATIENCE = 2_000;

export async function agentSocket(
  sandbox: Pick<Sandbox, "url">,
  transports = ["websocket"],
): Promise<AgentSocket> {
  const socket = io(`${sandbox.url}/agent-realtime`, { transports, reconnection: false, forceNew: true });
  const heard: AgentSocket["heard"] = [];
  let reason: string | undefined;
  socket.onAny((event: string, body: Json) => heard.push({ event, body }));
  socket.on("disconnect", (why) => (reason = why));
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("connect_error", reject);
  });
  const ask = (event: string, ...body: unknown[]): Promise<Json> =>
    socket.timeout(PATIENCE).emitWithAck(event, ...body) as Promise<Json>;
  return {
    socket,
    heard,
    reason: () => reason,
    ask,
    auth: ({ id, token }, more = {}) =>
      ask("agent.auth", { type: "agent.auth", nodeId: id, agentToken: token, ...more }),
    async hears(event) {
      const found = () => heard.findLast((one) => one.event === event)?.body;
      await until(() => found() !== undefined);
      return found() ?? {};
    },
    [Symbol.dispose]: () => void socket.disconnect(),
  };
}

/** Connected, and through `agent.auth`. */
export async function onlineAgent(sandbox: Pick<Sandbox, "url">, node: TestNode): Promise<AgentSocket> {
  const agent = await agentSocket(sandbox);
  await agent.auth(node);
  return agent;
}

export const base64 = (text: string): string => Buffer.from(text).toString("base64");
export const plain = (payload: string): string => Buffer.from(payload, "base64").toString();

/** Messages as they are on the wire, for what no client would send. */
export interface RawSocket extends Disposable {
  readonly received: string[];
  send(message: string): void;
  closed(): { code: number } | undefined;
}

export async function rawSocket(sandbox: Pick<Sandbox, "url">): Promise<RawSocket> {
  const address = `${sandbox.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`;
  const socket = new WebSocket(address);
  const received: string[] = [];
  let closed: { code: number } | undefined;
  socket.addEventListener("message", ({ data }) => void received.push(String(data)));
  socket.addEventListener("close", ({ code }) => void (closed = { code }));
  await until(() => received.length > 0);
  socket.send("40/agent-realtime,");
  await until(() => received.length > 1);
  return {
    received,
    send: (message) => socket.send(message),
    closed: () => closed,
    [Symbol.dispose]: () => socket.close(),
  };
}
