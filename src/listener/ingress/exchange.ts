// Passes one request to its container and the answer back, streamed, each side only as fast as the other accepts.
//
// When the container fails, its answer is cut off, never completed. A request is repeated once if the container had closed the reused
// connection meanwhile, and only if it is idempotent and has no body.
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
import { switchProtocols } from "./upgrade.ts";

export interface ExchangeLimits {
  /** Until the container accepts the connection. */
  readonly connect: Duration;
  /** From the last byte of the request until the head of the answer. */
  readonly header: Duration;
  /** Without a byte in either direction, during an answer. */
  readonly idle: Duration;
  /** Without a byte in either direction, after an upgrade. */
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
  /** For a client that asks for another protocol: its connection, and the bytes read behind the request. */
  readonly upgrade?: { readonly socket: Socket; readonly head: Buffer } | undefined;
  /** Called when the container answered (`undefined`) or failed (why, in words); not when the client disconnected. */
  settle(failure: string | undefined): void;
}

/** Bytes of the head of an answer. */
const HEAD_MAX = 64 * KIB;
const REPEATABLE = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);
/** Answers that have no body, whatever their length header says. */
const isBodiless = (method: string | undefined, status: number): boolean =>
  method === "HEAD" || status === 204 || status === 304;

/** Serves one request. Answers an error page itself when the container fails before its answer began. */
export function exchange(incoming: IncomingMessage, outgoing: ServerResponse, hop: Hop): void {
  let isRepeated = false;
  /** The client holds its body back until it gets "100 Continue". */
  let isHeldBack = incoming.headers.expect !== undefined;
  let current = attempt();
  outgoing.once("close", () => {
    // Also when the answer is complete before the request: the rest of the request is not needed.
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
      // Not reused after an upgrade request: the state of the connection after a refusal is uncertain.
      agent: isRepeated || hop.upgrade !== undefined ? false : hop.agent,
      maxHeaderSize: HEAD_MAX,
      // Small servers end header lines with a bare LF, as browsers and Go accept. `faultOf` checks what else this admits.
      insecureHTTPParser: true,
      timeout: limits.header,
    });
    let isAnswered = false;
    let failure: { refusal: IngressRefusal; text: string } | undefined;

    function fail(refusal: IngressRefusal, text: string): void {
      failure ??= { refusal, text };
      upstream.destroy();
    }

    /** Called once per attempt, at its end: after a complete answer, a broken one, or none. */
    function end(): void {
      incoming.unpipe(upstream);
      // Drain what the client still sends, so that the next request of its connection can be parsed.
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
      // An error on a reused connection is not a failure of the container yet.
      if (!upstream.reusedSocket || isAnswered) failure ??= { refusal: "away", text: wordsFor(error) };
    });
    upstream.on("close", end);
    upstream.on("continue", () => {
      // Only to a client that waits for it, and once.
      if (isHeldBack && !outgoing.headersSent) outgoing.writeContinue();
      isHeldBack = false;
    });
    upstream.on("response", (answer) => {
      isAnswered = true;
      upstream.setTimeout(limits.idle);
      // The client was answered meanwhile: the rest of its request was malformed.
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
    const client = hop.upgrade;
    if (client !== undefined)
      upstream.on("upgrade", (answer, socket, head) => {
        isAnswered = true;
        hop.settle(undefined);
        if (client.socket.destroyed) return void socket.destroy();
        outgoing.detachSocket(client.socket);
        return switchProtocols(answer, client, { socket, head }, limits.tunnel);
      });

    if (framing === undefined) upstream.end();
    else {
      if (framing === "chunked")
        incoming.once("end", () => upstream.addTrailers(trailersOf(incoming.rawTrailers)));
      // Send the head without waiting for the body: the body may wait for the answer.
      upstream.flushHeaders();
      incoming.pipe(upstream);
    }
    return upstream;
  }
}

const mayRepeat = ({ method }: IncomingMessage, framing: Framing): boolean =>
  framing === undefined && REPEATABLE.has(method ?? "");

/** Returns why two parsers could read the answer differently (response smuggling); `undefined` for a clear one. */
function faultOf(status: number, rawHeaders: readonly string[]): string | undefined {
  const codings = valuesOf("transfer-encoding", rawHeaders);
  const lengths = valuesOf("content-length", rawHeaders);
  if (codings.length > 1 || (codings[0] ?? "chunked").toLowerCase() !== "chunked")
    return "the answer has a transfer coding that is not known here";
  if (lengths.length > 1 || (codings.length > 0 && lengths.length > 0))
    return "the answer states its length twice";
  return status < 200 || status > 999 ? `the answer has the status ${status}` : undefined;
}

/** Streams the answer to the client. Returns why it cannot be passed on; `undefined` when it is. */
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
  // The next bytes may be the held-back body or another request, so the connection must end.
  const last = isHeldBack ? ["Connection", "close"] : [];
  try {
    outgoing.writeHead(status, statusMessage, [...responseHeaders(rawHeaders, trailers), ...last]);
    // One write with the first bytes of the body, if there are any; an event stream starts with the head alone.
    setImmediate(() => outgoing.flushHeaders());
  } catch {
    return "the answer has headers that cannot be passed on";
  }
  answer.once("end", () => {
    if (trailers) outgoing.addTrailers(trailersOf(answer.rawTrailers));
  });
  // Pass a cut-off on: the client must not take a part for the whole.
  answer.once("close", () => {
    if (!answer.complete) cutOff(outgoing);
  });
  answer.on("error", () => {});
  answer.pipe(outgoing);
  return undefined;
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
