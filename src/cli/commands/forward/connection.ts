// Joins a local socket with a tunnel. Each side is read only as fast as the other accepts the bytes.
import type { Socket } from "node:net";
import type { TunnelSocket } from "../../../peer/tunnel.ts";
import { type Duration, seconds } from "../../../lib/duration.ts";
import { printable } from "../../../lib/printable.ts";
import {
  type FrameEvent,
  OPCODE,
  clientFrame,
  closeFrame,
  createFrameReader,
} from "../../../peer/websocket-frames.ts";
import { CLOSE } from "../../../protocol/caravanserai/tunnel.ts";

/** After the end: time for the program to read the rest, and for the agent to answer the close. */
const CLOSE_TIMEOUT: Duration = seconds(10);

/** The payload of a half-close: an empty binary message. */
const EMPTY = new Uint8Array(0);

/**
 * Joins them until both are closed. Resolves with `undefined` after a proper end, else with the reason in words; the program
 * then sees its connection reset.
 */
export function joinTunnel(
  local: Socket,
  { socket: tunnel, head, halfClose }: TunnelSocket,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const read = createFrameReader();
  /** A close frame was sent or received. */
  let closed = false;
  let failure: string | undefined;
  let open = 2;

  const send = (frame: Uint8Array): boolean => !tunnel.writableEnded && tunnel.write(frame);

  /** Sends our close frame; the agent closes the connection after its own. */
  function close(code: number, reason = ""): void {
    if (closed) return;
    closed = true;
    send(closeFrame(code, reason));
    bound(tunnel);
    tunnel.end();
    // Frames that still arrive are discarded.
    tunnel.resume();
  }

  function fail(why: string): void {
    failure ??= why;
    local.resetAndDestroy();
  }

  function take(event: FrameEvent): void {
    switch (event.type) {
      case "data":
        if (!local.writable || closed) return;
        if (!local.write(event.bytes)) tunnel.pause();
        return;
      case "empty":
        if (halfClose) local.end();
        return;
      case "ping":
        if (!closed) send(clientFrame(OPCODE.pong, event.payload));
        return;
      case "pong":
        return;
      case "close":
        return tunnelClosed(event.code, event.reason);
      case "violation":
        close(event.code, event.reason);
        return fail(`the agent broke the WebSocket protocol: ${event.reason}`);
    }
  }

  function tunnelClosed(code: number, reason: string): void {
    close(code === 1005 ? CLOSE.done : code);
    if (code !== CLOSE.done && code !== 1005)
      return fail(`the tunnel was closed: ${printable(reason) || `code ${code}`}`);
    // Data received before the close is written first. What the program still sends is discarded.
    bound(local);
    local.end();
    local.resume();
    return undefined;
  }

  const over = (): void => {
    if (--open > 0) return;
    signal.removeEventListener("abort", aborted);
    resolve(failure);
  };
  const aborted = (): void => {
    close(CLOSE.away, "the client ends");
    local.destroy();
    tunnel.destroySoon();
  };

  local.on("data", (bytes: Buffer) => {
    if (!closed && !send(clientFrame(OPCODE.binary, bytes))) local.pause();
  });
  local.on("drain", () => tunnel.resume());
  local.on("end", () => {
    if (closed) return;
    if (halfClose) send(clientFrame(OPCODE.binary, EMPTY));
    else close(CLOSE.done);
  });
  local.on("error", () => {}); // Its close follows.
  local.on("close", () => {
    close(CLOSE.done);
    over();
  });

  const readFrames = (bytes: Uint8Array): void => {
    for (const event of read(bytes)) take(event);
  };
  tunnel.on("data", readFrames);
  tunnel.on("drain", () => local.resume());
  tunnel.on("close", () => {
    if (!closed) {
      closed = true;
      fail("the connection to the agent was lost");
    }
    over();
  });
  tunnel.on("error", () => {});
  tunnel.on("end", () => tunnel.end());

  signal.addEventListener("abort", aborted, { once: true });
  tunnel.setKeepAlive(true, seconds(30));
  local.setNoDelay(true);
  readFrames(head);
  if (local.destroyed) close(CLOSE.done);
  if (local.closed) over();
  if (tunnel.closed) fail("the connection to the agent was lost");
  if (!local.writableNeedDrain) tunnel.resume();
  local.resume();
  if (signal.aborted) aborted();
  return promise;
}

/** Destroys the socket CLOSE_TIMEOUT after its last byte was written: a slow reader has unlimited time before that. */
function bound(socket: Socket): void {
  socket.once("finish", () => {
    const timer = setTimeout(() => socket.destroy(), CLOSE_TIMEOUT);
    socket.once("close", () => clearTimeout(timer));
  });
}
