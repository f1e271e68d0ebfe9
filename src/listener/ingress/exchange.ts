// One request through the ingress: to the container and its answer back, streamed, each side as fast as the other takes it.
//
// An answer is only ever cut off, never completed, when its source fails. A request is sent a second time only when the
// container had closed a kept connection meanwhile, and only when repeating it does no harm.
import {
  type Agent,
  type ClientRequest,
  type IncomingMessage,
  type ServerResponse,
  request,
} from "node:http";
import type { Socket } from "node:net";
import { KIB } from "../../lib/size.ts";
import type { Duration } from "../../lib/duration.ts";
import { responseHeaders, trailersOf } from "./headers.ts";
import { type IngressRefusal, cutOff, refuse } from "./page.ts";
import { type Framing, valuesOf } from "./request.ts";
import { joinEnds } from "./upgrade.ts";

export interface ExchangeLimits {
  /** Until the container takes the connection. */
  readonly connect: Duration;
  /** Until the head of its answer, from the last byte of the request on. */
  readonly header: Duration;
  /** Without a byte in either direction, while an answer is under way. */
  readonly idle: Duration;
  /** The same for what a connection was upgraded to. */
  readonly tunnel: Duration;
}

export interface Hop {
  readonly address: string;
  readonly port: number;
  readonly path: string;
  readonly headers: readonly string[];
  readonly framing: Framing;
  readonly agent: Agent;
  readonly limits: ExchangeLimits;
  /** Of a client that asks for another protocol: its connection, and what came behind the request. */
  readonly upgrade?: { readonly socket: Socket; readonly head: Buffer } | undefined;
  /** The container answered; or it did not, and why, in words. A client that went away is neither. */
  settle(failure: string | undefined): void;
}

/** A head of an answer beyond that is refused, too. */
const HEAD_MAX = 64 * KIB;
const REPEATABLE = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);
/** Of which the length says nothing: none of these has a body. */
const isBodiless = (method: string | undefined, status: number): boolean =>
  method === "HEAD" || status === 204 || status === 304;

export function exchange(incoming: IncomingMessage, outgoing: ServerResponse, hop: Hop): void {
  let isRepeated = false;
  /** The client holds the body back until it is told. */
  let isHeldBack = incoming.headers.expect !== undefined;
  let current = attempt();
  outgoing.once("close", () => {
    // Also when the answer came before the whole request: nobody wants the rest of it.
    if (!outgoing.writableFinished || !incoming.complete) current.destroy();
  });

  function attempt(): ClientRequest {
    const { address: host, port, path, headers, limits, framing } = hop;
    const upstream = request({
      host,
      port,
      method: incoming.method,
      path,
      headers,
      setHost: false,
      // What a server does with a connection after it refused another protocol is its own affair: none is kept.
      agent: isRepeated || hop.upgrade !== undefined ? false : hop.agent,
      maxHeaderSize: HEAD_MAX,
      // Small servers end header lines with a bare LF, which browsers and Go take. What else this lets in, `faultOf` looks at.
      insecureHTTPParser: true,
      timeout: limits.header,
    });
    let isAnswered = false;
    let failure: { refusal: IngressRefusal; text: string } | undefined;

    function fail(refusal: IngressRefusal, text: string): void {
      failure ??= { refusal, text };
      upstream.destroy();
    }

    /** Every way leads here, once: an answer that was passed on, one that broke, none. */
    function end(): void {
      incoming.unpipe(upstream);
      // What the client still sends is read away, so that the next request of its connection is found.
      incoming.resume();
      if (isAnswered || outgoing.destroyed || outgoing.writableEnded) return;
      if (failure === undefined && upstream.reusedSocket && !isRepeated && mayRepeat(incoming, framing)) {
        isRepeated = true;
        current = attempt();
        return;
      }
      hop.settle(failure?.text ?? "the connection was closed without an answer");
      if (outgoing.headersSent) cutOff(outgoing);
      else refuse(outgoing, failure?.refusal ?? "away");
    }

    upstream.on("socket", (socket) => {
      if (!socket.connecting) return;
      const timer = setTimeout(() => fail("late", "the connection was not taken in time"), limits.connect);
      const clear = (): void => clearTimeout(timer);
      socket.once("connect", clear).once("close", clear);
    });
    upstream.on("timeout", () => fail("late", isAnswered ? "the answer did not go on" : "no answer in time"));
    upstream.on("error", (error: Error & { code?: string }) => {
      // One that had gone stale is no failure of the container's yet.
      if (!upstream.reusedSocket || isAnswered) failure ??= { refusal: "away", text: wordsFor(error) };
    });
    upstream.on("close", end);
    upstream.on("continue", () => {
      // Only who waits for it is told, and once.
      if (isHeldBack && !outgoing.headersSent) outgoing.writeContinue();
      isHeldBack = false;
    });
    upstream.on("response", (answer) => {
      isAnswered = true;
      upstream.setTimeout(limits.idle);
      // The rest of the request was refused meanwhile.
      if (outgoing.headersSent || outgoing.destroyed) {
        upstream.destroy();
        return;
      }
      const fault = passOn(answer, incoming, outgoing, isHeldBack);
      hop.settle(fault);
      if (fault === undefined) return;
      upstream.destroy();
      refuse(outgoing, "away");
    });
    if (hop.upgrade !== undefined)
      upstream.on("upgrade", (answer, socket, head) => {
        isAnswered = true;
        hop.settle(undefined);
        switchOver(answer, { socket, head }, outgoing, hop);
      });

    if (framing === undefined) upstream.end();
    else {
      if (framing === "chunked")
        incoming.once("end", () => upstream.addTrailers(trailersOf(incoming.rawTrailers)));
      // The head must not wait for the body, which may wait for the answer.
      upstream.flushHeaders();
      incoming.pipe(upstream);
    }
    return upstream;
  }
}

const mayRepeat = ({ method }: IncomingMessage, framing: Framing): boolean =>
  framing === undefined && REPEATABLE.has(method ?? "");

/** What makes an answer ambiguous, so that two readers of it may see two different ones; undefined for nothing. */
function faultOf(status: number, rawHeaders: readonly string[]): string | undefined {
  const codings = valuesOf("transfer-encoding", rawHeaders);
  const lengths = valuesOf("content-length", rawHeaders);
  if (codings.length > 1 || (codings[0] ?? "chunked").toLowerCase() !== "chunked")
    return "the answer has a transfer coding that is not known here";
  if (lengths.length > 1 || (codings.length > 0 && lengths.length > 0))
    return "the answer states its length twice";
  return status < 200 || status > 999 ? `the answer has the status ${status}` : undefined;
}

/** Returns what makes the answer one that cannot be passed on. */
function passOn(
  answer: IncomingMessage,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  isHeldBack: boolean,
): string | undefined {
  const { statusCode: status = 0, statusMessage = "", rawHeaders } = answer;
  const fault = faultOf(status, rawHeaders);
  if (fault !== undefined) return fault;
  const trailers =
    valuesOf("transfer-encoding", rawHeaders).length > 0 &&
    incoming.httpVersion !== "1.0" &&
    !isBodiless(incoming.method, status);
  // Whether what comes next is the body or another request, nobody could tell.
  const last = isHeldBack ? ["Connection", "close"] : [];
  try {
    outgoing.writeHead(status, statusMessage, [...responseHeaders(rawHeaders, trailers), ...last]);
    // Together with the first bytes of the body, where they are there; an event stream begins with its head alone.
    setImmediate(() => outgoing.flushHeaders());
  } catch {
    return "the answer has headers that cannot be passed on";
  }
  answer.once("end", () => {
    if (trailers) outgoing.addTrailers(trailersOf(answer.rawTrailers));
  });
  // Cut off here means cut off there: a client must not take a part for the whole.
  answer.once("close", () => {
    if (!answer.complete) cutOff(outgoing);
  });
  answer.on("error", () => {});
  answer.pipe(outgoing);
  return undefined;
}

function switchOver(
  answer: IncomingMessage,
  container: { readonly socket: Socket; readonly head: Buffer },
  outgoing: ServerResponse,
  { upgrade: client, limits }: Hop,
): void {
  if (client === undefined || client.socket.destroyed) return void container.socket.destroy();
  outgoing.detachSocket(client.socket);
  const headers = responseHeaders(answer.rawHeaders, false);
  const lines = [`HTTP/1.1 101 ${answer.statusMessage ?? ""}`];
  for (let at = 0; at < headers.length; at += 2) lines.push(`${headers[at]}: ${headers[at + 1]}`);
  lines.push("Connection: Upgrade", `Upgrade: ${valuesOf("upgrade", answer.rawHeaders).join(", ")}`);
  client.socket.write(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
  joinEnds(client, container, limits.tunnel);
}

function wordsFor(error: Error & { code?: string }): string {
  switch (error.code) {
    case "ECONNREFUSED":
      return "the connection was refused: nothing listens on the port";
    case "ECONNRESET":
      return "the connection was closed without an answer";
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return "the container cannot be reached";
    default:
      return error.code?.startsWith("HPE_") ? "the answer is not HTTP" : error.message;
  }
}
