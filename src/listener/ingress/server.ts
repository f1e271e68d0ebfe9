// The HTTP server of the ingress: Node's, for its strict parser, with limits on heads, connections and pipelining.
import { Agent, type IncomingMessage, ServerResponse, createServer } from "node:http";
import type { Socket } from "node:net";
import { KIB } from "../../lib/size.ts";
import { within } from "../../lib/until.ts";
import { type Duration, milliseconds, seconds } from "../../lib/duration.ts";
import type { Bound } from "../bind.ts";
import type { ExchangeLimits } from "./exchange.ts";
import { type IngressRefusal, cutOff, rawRefusal, refuse } from "./page.ts";
import { framingOf } from "./request.ts";

export interface IngressLimits extends ExchangeLimits {
  /** For the head of a request, from the connection or the first byte. */
  readonly head: Duration;
  /** For a connection between two requests. */
  readonly keepAlive: Duration;
  readonly connections: number;
  /** For requests in progress when the agent stops. */
  readonly grace: Duration;
}

/** A parsed request. */
export interface Arrival {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
  /** Keeps connections to containers open for reuse. */
  readonly agent: Agent;
  /** Its connection is above the limit. */
  readonly isExcess: boolean;
  /** The client waits for "100 Continue". */
  readonly expects: boolean;
  /** Set when it asks for another protocol; its connection ends with this answer. */
  readonly upgrade: { readonly socket: Socket; readonly head: Buffer } | undefined;
}

export interface ServerOptions {
  readonly host: string;
  readonly port: number;
  readonly limits: IngressLimits;
  readonly serve: (arrival: Arrival) => void;
  /** Called for a request that could not be parsed and was answered here. */
  readonly onRefused: () => void;
}

/** Bytes of all headers of a request, and their number. */
const HEAD_MAX = 32 * KIB;
const HEADERS_MAX = 128;
/**
 * Pipelined requests of one connection that may wait: they are served one by one, since each in progress is a connection to a
 * container. No ordinary client sends more; one that does is disconnected.
 */
const AHEAD_MAX = 100;
/** Connections above the limit that get a 503; more are closed. */
const EXCESS_MAX = 64;
/** Shorter than the keep-alive of common servers (gunicorn: 2 s), so that a reused connection is rarely closed already. */
const KEPT: Duration = milliseconds(1_500);
const KEPT_MAX = 64;

/** Listens. Rejects with the runtime's error. */
export function listen({ host, port, limits, serve, onRefused }: ServerOptions): Promise<Bound> {
  const agent = new Agent({ keepAlive: true, timeout: KEPT, maxFreeSockets: KEPT_MAX });
  const connections = new Set<Socket>();
  const excess = new WeakSet<Socket>();
  /** The newest request of a connection. */
  const newest = new WeakMap<Socket, ServerResponse>();
  const options = {
    maxHeaderSize: HEAD_MAX,
    headersTimeout: limits.head,
    // An upload may take any time while it makes progress.
    requestTimeout: 0,
    // `serve` answers requests without a valid Host itself.
    requireHostHeader: false,
    keepAliveTimeout: limits.keepAlive,
    connectionsCheckingInterval: Math.min(seconds(5), limits.head / 4),
    // Requests that may not upgrade keep their body and are served as ordinary ones.
    shouldUpgradeCallback: mayUpgrade,
  };
  const server = createServer(options);
  server.maxHeadersCount = HEADERS_MAX;
  server.maxConnections = limits.connections + EXCESS_MAX;
  server.timeout = limits.idle;

  /** Per connection with a request in progress: starts the requests that wait behind it. */
  const waiting = new WeakMap<Socket, (() => void)[]>();

  function next(socket: Socket): void {
    const begin = socket.destroyed ? undefined : waiting.get(socket)?.shift();
    if (begin === undefined) waiting.delete(socket);
    else begin();
  }

  type How = Partial<Pick<Arrival, "expects" | "upgrade">>;
  function take(incoming: IncomingMessage, outgoing: ServerResponse, how: How = {}): void {
    const { socket } = incoming;
    if (socket.destroyed) return;
    newest.set(socket, outgoing);
    // A client that disconnects in the middle is not an error.
    incoming.on("error", () => {});
    outgoing.on("error", () => {});
    const isExcess = excess.has(socket);
    const begin = (): void => {
      // A parse error behind it may have been answered in its place already.
      if (!outgoing.writableEnded)
        serve({ incoming, outgoing, agent, isExcess, expects: false, upgrade: undefined, ...how });
    };
    outgoing.once("close", () => next(socket));
    const ahead = waiting.get(socket);
    if (ahead === undefined) {
      waiting.set(socket, []);
      begin();
    } else if (ahead.length < AHEAD_MAX) ahead.push(begin);
    else socket.destroy();
  }

  /** Closes a connection so that the client notices an incomplete answer. */
  function drop(socket: Socket): void {
    const answer = newest.get(socket);
    if (answer?.headersSent === true && !answer.writableFinished) cutOff(answer);
    else socket.destroy();
  }
  server.on("timeout", drop);
  server.on("connection", (socket) => {
    connections.add(socket);
    if (connections.size > limits.connections) excess.add(socket);
    socket.once("close", () => connections.delete(socket));
  });
  server.on("request", (incoming, outgoing) => take(incoming, outgoing));
  server.on("checkContinue", (incoming, outgoing) => take(incoming, outgoing, { expects: true }));
  server.on("checkExpectation", (_, outgoing) => {
    onRefused();
    refuse(outgoing, "expectation");
  });
  server.on("upgrade", (incoming, _, head) => {
    const { socket } = incoming;
    const outgoing = new ServerResponse(incoming);
    outgoing.assignSocket(socket);
    outgoing.shouldKeepAlive = false;
    outgoing.once("finish", () => socket.destroySoon());
    socket.on("error", () => socket.destroy());
    socket.once("close", () => outgoing.destroy());
    take(incoming, outgoing, { upgrade: { socket, head } });
  });
  server.on("connect", (_, socket) => {
    onRefused();
    socket.on("error", () => {});
    // An earlier request may still wait for its answer, which must not be replaced.
    if (newest.get(socket as Socket)?.writableFinished ?? true) socket.end(rawRefusal("method"));
    else socket.destroy();
  });
  server.on("clientError", (error: Error & { code?: string }, socket) => {
    const refusal: IngressRefusal = error.code === "HPE_HEADER_OVERFLOW" ? "large" : "broken";
    const isGone = !socket.writable || error.code === "ECONNRESET";
    const answer = newest.get(socket as Socket);
    if (!isGone) onRefused();
    if (isGone) socket.destroy();
    else if (answer === undefined || answer.writableFinished) socket.end(rawRefusal(refusal));
    else if (answer.req.complete) answer.once("finish", () => answer.req.socket.destroySoon());
    else if (!answer.headersSent) refuse(answer, refusal);
    // An error page in the middle of an answer would be read as part of it.
    else drop(answer.req.socket);
  });

  async function close(): Promise<void> {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    // Connections without a request in progress, incomplete heads included.
    for (const socket of connections) if (newest.get(socket)?.writableFinished ?? true) socket.destroy();
    await within(closed, limits.grace);
    for (const socket of connections) drop(socket);
    await closed;
    agent.destroy();
  }
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port }, () => {
      const address = server.address();
      resolve({ port: typeof address === "object" ? (address?.port ?? port) : port, close });
    });
  });
}

/** Refuses upgrades to HTTP (h2c), whose requests would bypass all checks here, and upgrades with a body. */
function mayUpgrade({ headers, httpVersion, rawHeaders }: IncomingMessage): boolean {
  const protocols = (headers.upgrade ?? "").toLowerCase().split(",");
  const isHttp = protocols.some((protocol) => /^\s*(h2c|http\/|tls\/)/.test(protocol));
  const framing = framingOf(httpVersion, rawHeaders);
  return (
    !isHttp &&
    (framing === undefined || (framing !== "chunked" && framing !== "refused" && /^0+$/.test(framing.length)))
  );
}
