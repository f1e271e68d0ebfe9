// Opens a tunnel to an agent: a WebSocket handshake over a plain socket, since Bun's WebSocket client cannot be paused.
import { createHash, randomBytes } from "node:crypto";
import { type Socket, connect, isIP } from "node:net";
import { connect as connectTls } from "node:tls";
import { portOfUrl, unbracketed } from "../lib/address.ts";
import { AgentError, exit } from "../lib/agent-error.ts";
import { HALF_CLOSE } from "../protocol/caravanserai/tunnel.ts";
import {
  AGENT_TIMEOUT,
  type RemoteAgent,
  agentHeaders,
  refusalError,
  agentUnreachable,
} from "./agent-client.ts";

export interface TunnelSocket {
  /** Paused. Has an `error` listener. */
  readonly socket: Socket;
  /** Bytes of frames that arrived with the answer. */
  readonly head: Uint8Array;
  /** Whether the agent supports half-close in both directions. */
  readonly halfClose: boolean;
}

/** Bytes of an answer's head; an agent's is shorter. */
const HEAD_MAX = 65_536;

/** Throws "agent.refused" with the agent's message, "http.answer", "net.*", "tls.*", "aborted". */
export async function openTunnel(
  agent: RemoteAgent,
  path: string,
  signal: AbortSignal,
): Promise<TunnelSocket> {
  const key = randomBytes(16).toString("base64");
  const url = new URL(agent.url + path);
  const socket = connectTo(agent, url);
  try {
    const answer = await exchange(socket, requestFor(url, key, agentHeaders(agent)), signal);
    if (answer.status !== 101) throw refusalError({ status: answer.status, body: answer.body }, agent);
    const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    if (answer.headers.get("sec-websocket-accept") !== accept) {
      throw new AgentError("http.answer", `${agent.url} answered a WebSocket handshake wrongly`, {
        exit: exit.unreachable,
        hint: "Is there a proxy in between that does not know WebSockets?",
      });
    }
    return {
      socket,
      head: answer.rest,
      halfClose: answer.headers.get("sec-websocket-protocol") === HALF_CLOSE,
    };
  } catch (error) {
    socket.destroy();
    throw error instanceof AgentError ? error : await agentUnreachable(agent, error, signal);
  }
}

function connectTo(agent: RemoteAgent, url: URL): Socket {
  const host = unbracketed(url.hostname);
  if (url.protocol !== "https:") return connect({ host, port: portOfUrl(url), noDelay: true });
  const named = isIP(host) === 0 ? { servername: host } : {};
  const socket = connectTls({ host, port: portOfUrl(url), ca: agent.authorities(), ...named });
  return socket.setNoDelay(true);
}

function requestFor(url: URL, key: string, headers: Readonly<Record<string, string>>): string {
  const all = {
    host: url.host,
    upgrade: "websocket",
    connection: "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": key,
    "sec-websocket-protocol": HALF_CLOSE,
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `GET ${url.pathname} HTTP/1.1\r\n${lines.join("")}\r\n`;
}

interface HandshakeAnswer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  /** The body of a refusal; empty without a Content-Length. */
  readonly body: string;
  /** Bytes behind the head. */
  readonly rest: Buffer;
}

/** Rejects with the socket's error, an AgentError, or a TimeoutError. */
function exchange(socket: Socket, request: string, signal: AbortSignal): Promise<HandshakeAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<HandshakeAnswer>();
  let read: Buffer = Buffer.alloc(0);
  const onData = (bytes: Buffer): void => {
    read = Buffer.concat([read, bytes]);
    const answer = answerIn(read);
    if (answer === undefined && read.length <= HEAD_MAX) return;
    socket.pause();
    if (answer !== undefined) resolve(answer);
    else
      reject(
        new AgentError("http.answer", "the answer is too long for an agent's", { exit: exit.unreachable }),
      );
  };
  const ended = (): void =>
    reject(Object.assign(new Error("closed before an answer came"), { code: "ECONNRESET" }));
  const aborted = (): void => reject(new Error("interrupted"));
  const timer = setTimeout(() => reject(new DOMException("late", "TimeoutError")), AGENT_TIMEOUT);
  socket.on("error", reject);
  socket.on("data", onData);
  socket.once("close", ended);
  socket.once("end", ended);
  signal.addEventListener("abort", aborted, { once: true });
  if (signal.aborted) aborted();
  socket.write(request);
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", aborted);
    socket.off("data", onData);
    socket.off("close", ended);
    socket.off("end", ended);
  });
}

/** Parses an answer; `undefined` until its head, and the body of a refusal, are complete. */
function answerIn(read: Buffer): HandshakeAnswer | undefined {
  const end = read.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const [first = "", ...lines] = read.toString("latin1", 0, end).split("\r\n");
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(first)?.[1] ?? 0);
  const headers = new Map(
    lines.map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
  const rest = read.subarray(end + 4);
  // Without a length the body is not read: the status must do.
  const length = status === 101 ? 0 : Math.min(Number(headers.get("content-length") ?? 0) || 0, HEAD_MAX / 2);
  if (rest.length < length) return undefined;
  return { status, headers, body: rest.toString("utf8", 0, length), rest };
}
