// A viewer of a terminal: the operator's websocket at /sandbox/v1/terminals/<id>/attach.
//
//   to the viewer     binary: output: first the transcript after `?after=<seq>` (all without it), then live;
//                     text:   {"type":"state","terminal":{…}} at first and at each change, after the output before it;
//                             {"type":"error","message":…} when a request was refused
//   from the viewer   binary: bytes typed; text: {"type":"resize","cols":…,"rows":…}, {"type":"stop","reason"?:…}
//
// The transcript in the database is the queue: a viewer that does not read costs no memory. After the final state the
// websocket is closed with code 1000. Browsers cannot set headers; they offer the subprotocols "noderax.terminal" and
// "noderax.token.<the operator token in base64url>".
import * as v from "valibot";
import { KIB } from "../lib/size.ts";
import { messageOf } from "../lib/agent-error.ts";
import { jsonAnswer } from "./http/answer.ts";
import { UnknownError } from "./http/api-error.ts";
import { matchPath } from "./noderax/route.ts";
import type { Operations } from "./operations.ts";
import { OPERATOR_PREFIX, type OperatorPorts, refuseCaller } from "./operator.ts";
import type { TerminalDocument } from "./documents.ts";

const PATH = `${OPERATOR_PREFIX}/terminals/:terminal/attach`;
const PROTOCOL = "noderax.terminal";
const TOKEN_PROTOCOL = "noderax.token.";

/** Bytes in flight to a viewer; more is read from the transcript only after these are sent. */
const IN_FLIGHT = 256 * KIB;
/** Chunks read from the transcript at a time. */
const READ_AHEAD = 8;

export const isAttach = (request: Request): boolean =>
  request.headers.get("upgrade")?.toLowerCase() === "websocket" &&
  matchPath(PATH, new URL(request.url).pathname) !== undefined;

/** Answers the opening handshake. `upgrade` hands the connection over to the viewer; false when it could not. */
export function answerAttach(
  ports: OperatorPorts,
  request: Request,
  upgrade: (viewer: Viewer, headers: Record<string, string>) => boolean,
): Response {
  const offered = (request.headers.get("sec-websocket-protocol") ?? "").split(",").map((one) => one.trim());
  const inProtocol = offered.find((one) => one.startsWith(TOKEN_PROTOCOL))?.slice(TOKEN_PROTOCOL.length);
  const given = inProtocol === undefined ? undefined : Buffer.from(inProtocol, "base64url").toString();
  const refusal = refuseCaller(ports, request, given);
  if (refusal) return refusal;
  const { pathname, searchParams } = new URL(request.url);
  const after = searchParams.get("after") ?? "0";
  if (!/^\d{1,15}$/.test(after))
    return jsonAnswer(request, 400, { message: "after: must be a whole number, 0 or more" });
  try {
    const { id } = ports.operations.terminal(matchPath(PATH, pathname)?.["terminal"] ?? "");
    const headers: Record<string, string> = offered.includes(PROTOCOL)
      ? { "Sec-WebSocket-Protocol": PROTOCOL }
      : {};
    return upgrade(new Viewer(ports.operations, id, Number(after)), headers)
      ? new Response(null)
      : jsonAnswer(request, 400, { message: "this is no websocket handshake" });
  } catch (error) {
    if (!(error instanceof UnknownError)) throw error;
    return jsonAnswer(request, 404, { message: error.message, known: error.known });
  }
}

const ViewerRequest = v.variant("type", [
  v.strictObject({ type: v.literal("resize"), cols: v.number(), rows: v.number() }),
  v.strictObject({ type: v.literal("stop"), reason: v.optional(v.string()) }),
]);

/** As much of a websocket as a viewer needs. */
interface Connection {
  send(data: string | Uint8Array): number;
  getBufferedAmount(): number;
  close(code: number): void;
}

export class Viewer {
  readonly #operations: Operations;
  readonly #id: string;
  #connection: Connection | undefined;
  #watch: Disposable | undefined;
  #after: number;
  /** The state that is still to be sent, behind the output before it. */
  #state: TerminalDocument | undefined;

  constructor(operations: Operations, id: string, after: number) {
    this.#operations = operations;
    this.#id = id;
    this.#after = after;
  }

  open(connection: Connection): void {
    this.#connection = connection;
    this.#watch = this.#operations.watchTerminal(this.#id, (event) => {
      if (event.kind === "state") this.#state = event.terminal;
      this.#sendPending();
    });
    const state = this.#operations.terminal(this.#id);
    this.#tell({ type: "state", terminal: state });
    // Send the final state again, after the output.
    if (isOver(state)) this.#state = state;
    this.#sendPending();
  }

  message(message: string | Uint8Array): void {
    try {
      if (typeof message !== "string") return void this.#operations.typeInto(this.#id, message);
      const request = v.parse(ViewerRequest, JSON.parse(message));
      if (request.type === "stop") this.#operations.stopTerminal(this.#id, request.reason);
      else this.#operations.resizeTerminal(this.#id, request.cols, request.rows);
    } catch (error) {
      this.#tell({ type: "error", message: messageOf(error) });
    }
  }

  drain(): void {
    this.#sendPending();
  }

  close(): void {
    this.#connection = undefined;
    this.#watch?.[Symbol.dispose]();
  }

  /** Sends the transcript as fast as the viewer reads it, then the state. */
  #sendPending(): void {
    for (;;) {
      const connection = this.#connection;
      if (connection === undefined || connection.getBufferedAmount() > IN_FLIGHT) return;
      const chunks = this.#read();
      for (const { seq, direction, payload } of chunks) {
        this.#after = seq;
        if (direction !== "input" && payload !== "") connection.send(Buffer.from(payload, "base64"));
      }
      if (chunks.length === 0) return this.#settle();
    }
  }

  /** Undefined when the node and its terminals were deleted. */
  #read(): ReturnType<Operations["transcript"]> {
    try {
      return this.#operations.transcript(this.#id, { after: this.#after, limit: READ_AHEAD });
    } catch (error) {
      if (error instanceof UnknownError) return [];
      throw error;
    }
  }

  #settle(): void {
    const state = this.#state;
    if (state === undefined) return;
    this.#state = undefined;
    this.#tell({ type: "state", terminal: state });
    if (isOver(state)) this.#connection?.close(1_000);
  }

  #tell(message: object): void {
    this.#connection?.send(JSON.stringify(message));
  }
}

const isOver = ({ status }: TerminalDocument): boolean => status === "closed" || status === "failed";
