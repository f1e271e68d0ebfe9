// The HTTP server under the ingress: Node's, whose strict parser stands between us and malformed requests, with its bounds.
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
  /** For the head of a request, from the connection or its first byte on. */
  readonly head: Duration;
  /** Of a connection between two requests. */
  readonly keepAlive: Duration;
  readonly connections: number;
  /** For what is under way when the agent stops. */
  readonly grace: Duration;
}

/** A request that could be read. */
export interface Arrival {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
  /** Keeps connections to containers. */
  readonly agent: Agent;
  /** It came over a connection beyond the bound. */
  readonly isExcess: boolean;
  /** It waits for "100 Continue". */
  readonly expects: boolean;
  /** It asks for another protocol; then its connection ends with this answer. */
  readonly upgrade: { readonly socket: Socket; readonly head: Buffer } | undefined;
}

export interface ServerOptions {
  readonly host: string;
  readonly port: number;
  readonly limits: IngressLimits;
  readonly serve: (arrival: Arrival) => void;
  /** One that could not be read was answered here. */
  readonly onRefused: () => void;
}

/** All the headers of a request, and how many. */
const HEAD_MAX = 32 * KIB;
const HEADERS_MAX = 128;
/**
 * A request that a client sends ahead of the answer before it waits for its turn: each under way is a connection to the
 * container. Nobody has good reason to send more ahead than so many; who does is cut off.
 */
const AHEAD_MAX = 100;
/** So many connections beyond the bound are told so; those beyond are closed. */
const TOLD = 64;
/** Shorter than the patience of any common server (gunicorn: 2 s): seldom is one closed while it is taken up again. */
const KEPT: Duration = milliseconds(1_500);
const KEPT_MAX = 64;

/** Resolves when it listens, rejects with the runtime's error. */
export function listen({ host, port, limits, serve, onRefused }: ServerOptions): Promise<Bound> {
  const agent = new Agent({ keepAlive: true, timeout: KEPT, maxFreeSockets: KEPT_MAX });
  const connections = new Set<Socket>();
  const excess = new WeakSet<Socket>();
  /** The newest request of a connection. */
  const newest = new WeakMap<Socket, ServerResponse>();
  const options = {
    maxHeaderSize: HEAD_MAX,
    headersTimeout: limits.head,
    // A long upload is none of our business while it goes on.
    requestTimeout: 0,
    // Without one it is refused with the others that name no host.
    requireHostHeader: false,
    keepAliveTimeout: limits.keepAlive,
    connectionsCheckingInterval: Math.min(seconds(5), limits.head / 4),
    // The other requests keep their body, and are answered as if they had not asked.
    shouldUpgradeCallback: mayUpgrade,
  };
  const server = createServer(options);
  server.maxHeadersCount = HEADERS_MAX;
  server.maxConnections = limits.connections + TOLD;
  server.timeout = limits.idle;

  /** Of the connections with a request under way: what begins those that wait behind it. */
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
    // A client that goes away in the middle is its own business.
    incoming.on("error", () => {});
    outgoing.on("error", () => {});
    const isExcess = excess.has(socket);
    const begin = (): void => {
      // What could not be read behind it may have been its answer already.
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

  /** Closes a connection so that an answer under way is seen to be cut. */
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
    // Not in place of an answer that is still to come.
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
    // Words in the middle of an answer would be taken for a part of it.
    else drop(answer.req.socket);
  });

  async function close(): Promise<void> {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    // Nothing is under way where a head is not complete, either.
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

/** Not to HTTP/2 over plain text: it would carry requests past everything that is decided here. Nor with a body. */
function mayUpgrade({ headers, httpVersion, rawHeaders }: IncomingMessage): boolean {
  const protocols = (headers.upgrade ?? "").toLowerCase().split(",");
  const isHttp = protocols.some((protocol) => /^\s*(h2c|http\/|tls\/)/.test(protocol));
  const framing = framingOf(httpVersion, rawHeaders);
  return (
    !isHttp &&
    (framing === undefined || (framing !== "chunked" && framing !== "refused" && /^0+$/.test(framing.length)))
  );
}
