// Opens one Socket.IO connection over Bun's own WebSocket: it does not reconnect, and releases everything at its end.
//
// socket.io-client is loaded when the first connection is made. Of its transports only the websocket's frame is used; the
// socket itself is Bun's, which supports our certificate authorities and the proxy: neither `ws` nor XMLHttpRequest is loaded.
import type { Socket, WebSocket as WebSocketTransport } from "socket.io-client";
import { MIB } from "../lib/size.ts";
import { AgentError, exit, messageOf } from "../lib/agent-error.ts";
import { type Duration, seconds } from "../lib/duration.ts";
import { isTooDeep } from "../lib/json-depth.ts";
import { printable } from "../lib/printable.ts";
import { steadyNow } from "../lib/clock.ts";
import { proxyFor } from "./proxy.ts";

export interface Endpoint {
  /** URL of the API with its path: a control plane below a path has its sockets below it, too. */
  readonly apiUrl: string;
  /** `realtime_path`: begins and ends with a slash. */
  readonly path: string;
  readonly namespace: string;
  /** PEM of all trusted authorities; read once, for the first wss connection. */
  readonly authorities: () => string;
}

export interface WireEnd {
  /** The last stage reached: "transport" before the websocket is open, "namespace" before the namespace admits us. */
  readonly stage: "transport" | "namespace" | "connected";
  readonly by: "server" | "network" | "us";
  readonly reason: string;
  /** The error that prevented any attempt: an invalid address or proxy. */
  readonly error?: AgentError;
}

export interface Wire {
  /** Resolves when the server has admitted us to the namespace; never, if it does not. */
  readonly connected: Promise<void>;
  /** Resolves when the connection ends for any reason. No event is passed on after it. */
  readonly ended: Promise<WireEnd>;
  /** When the last frame was received, engine pings and acks included; steady clock. */
  receivedAt(): number;
  /** Resolves with the ack. Throws an AgentError: `realtime.lost` or `realtime.timeout`. */
  request(event: string, body: object, within: Duration): Promise<unknown>;
  close(reason: string): void;
}

/** Opens a connection. `onEvent` receives every event of the server, in order. */
export type OpenWire = (onEvent: (name: string, body: unknown) => void) => Promise<Wire>;

/** A larger frame ends the connection. Terminal input and requests have at most 100 KB. */
const INBOUND_MAX = 4 * MIB;
/** Characters of the server's reason that are shown. */
const REASON_MAX = 300;
/** Wait for the closing handshake; then the socket is terminated. */
const CLOSING_LIMIT = seconds(2);

/** Returns the opener of connections. `openTimeout` limits the opening of the websocket. An invalid address is reported as the end. */
export function socketIo(endpoint: Endpoint, openTimeout: Duration): OpenWire {
  let ca: string | undefined;

  return async function open(onEvent) {
    const { Manager, WebSocket: Transport } = await import("socket.io-client");
    const connected = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<WireEnd>();
    let receivedAt = steadyNow();
    let stage: WireEnd["stage"] = "transport";
    let over = false;
    let socket: Socket | undefined;

    try {
      const base = new URL(endpoint.apiUrl);
      const proxy = proxyFor(base, process.env);
      const tls = base.protocol === "https:" ? { ca: (ca ??= endpoint.authorities()) } : undefined;
      const options: Bun.WebSocketOptions = {
        perMessageDeflate: false,
        ...(tls === undefined ? {} : { tls }),
        ...(proxy === undefined ? {} : { proxy }),
      };
      const manager = new Manager(base.origin, {
        path: base.pathname.replace(/\/+$/, "") + endpoint.path,
        transports: [native(Transport, options, () => (receivedAt = steadyNow()))],
        upgrade: false,
        reconnection: false,
        autoConnect: false,
        timeout: openTimeout,
      });
      manager.on("open", () => (stage = "namespace"));
      socket = manager.socket(endpoint.namespace);
      socket.on("connect", () => {
        stage = "connected";
        connected.resolve();
      });
      socket.on("connect_error", (error) => end("network", reasonOf(error)));
      socket.on("disconnect", (reason) =>
        end(reason === "io server disconnect" ? "server" : "network", inWords[reason] ?? reason),
      );
      socket.onAny((name: unknown, body: unknown) => onEvent(String(name), body));
      socket.connect();
    } catch (error) {
      end("us", messageOf(error), error instanceof AgentError ? error : unusable(endpoint.apiUrl, error));
    }

    function end(by: WireEnd["by"], reason: string, error?: AgentError): void {
      if (over) return;
      over = true;
      ended.resolve({ stage, by, reason, ...(error === undefined ? {} : { error }) });
      socket?.offAny().off();
      socket?.io.off();
      socket?.disconnect();
    }

    return {
      connected: connected.promise,
      ended: ended.promise,
      receivedAt: () => receivedAt,
      close: (reason) => end("us", reason),
      request(event, body, within) {
        if (socket === undefined || over) return Promise.reject(lost(event));
        const { promise, resolve, reject } = Promise.withResolvers<unknown>();
        // Called once: with the ack, after the time, or at the end of the socket.
        socket.timeout(within).emit(event, body, (error: Error | null, answer: unknown) => {
          if (error === null) resolve(answer);
          else reject(over ? lost(event) : unanswered(event));
        });
        return promise;
      },
    };
  };
}

/** The library's websocket transport around Bun's WebSocket. `onFrame` is called for every frame. */
function native(
  Base: typeof WebSocketTransport,
  options: Bun.WebSocketOptions,
  onFrame: () => void,
): typeof WebSocketTransport {
  return class extends Base {
    override createSocket(uri: string): WebSocket {
      return new WebSocket(uri, options);
    }

    override onData(data: string | ArrayBuffer): void {
      onFrame();
      const size = typeof data === "string" ? data.length : data.byteLength;
      try {
        if (size > INBOUND_MAX) throw new Error(`a frame of ${size} bytes`);
        // No known event is nested that deep. The frame holds all of it, so the session can drop it and go on.
        if (typeof data === "string" && isTooDeep(data)) return;
        if (typeof data === "string" && isHollow(data)) throw new Error("a packet without its content");
        super.onData(data);
      } catch (error) {
        // Invalid Engine.IO throws in the middle of the library, where no caller catches it.
        this.onError(`not understood: ${messageOf(error)}`, error);
      }
    }

    override doClose(): void {
      const socket = this.ws as WebSocket | null | undefined;
      super.doClose();
      if (!socket) return;
      const timer = setTimeout(() => socket.terminate(), CLOSING_LIMIT);
      timer.unref();
      socket.addEventListener("close", () => clearTimeout(timer), { once: true });
    }
  };
}

/**
 * Returns whether a packet lacks content that the library requires (a refusal of the namespace, an ack): it would throw in
 * a turn of the event loop of its own and end the process.
 */
function isHollow(frame: string): boolean {
  const [, kind, content = ""] = /^4([346])(?:\d+-)?(?:\/[^,]*,)?\d*(.*)$/s.exec(frame) ?? [];
  if (kind === undefined) return false;
  if (kind !== "4" || content === "") return content === "";
  const refusal: unknown = JSON.parse(content);
  return (
    typeof refusal === "object" &&
    refusal !== null &&
    "message" in refusal &&
    typeof refusal.message !== "string"
  );
}

/** Texts for people, by the library's reason of a disconnect. */
const inWords: Readonly<Record<string, string>> = {
  "io server disconnect": "the control plane ended the session",
  "io client disconnect": "the agent ended the session",
  "ping timeout": "nothing was received for longer than the control plane announced",
  "transport close": "the connection was closed",
  "transport error": "the connection broke",
  "parse error": "the control plane sent what is no Socket.IO",
};

/** Returns the actual reason: the library says "websocket error" and puts the cause into `description`. */
function reasonOf(error: Error & { readonly description?: unknown }): string {
  const { description } = error;
  const detail =
    typeof description === "object" && description !== null && "message" in description
      ? String(description.message).replace(/^WebSocket connection to '[^']*' failed: /, "")
      : "";
  // The server writes the message of a refused namespace.
  return printable((detail || error.message || "no reason given").slice(0, REASON_MAX));
}

const lost = (event: string): AgentError =>
  new AgentError("realtime.lost", `the session was lost before ${event} was answered`, {
    exit: exit.unreachable,
  });

const unanswered = (event: string): AgentError =>
  new AgentError("realtime.timeout", `${event} was not answered in time`, { exit: exit.unreachable });

const unusable = (url: string, cause: unknown): AgentError =>
  new AgentError("realtime.url", `${url} is no address for a realtime session`, {
    hint: "Check api_url and realtime_path.",
    exit: exit.usage,
    cause,
  });
