// One forwarded connection: a program's local socket joined with a tunnel, each read no faster than the other takes.
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

/** For what is still to be read by a program, or answered by an agent, after the end. */
const FAREWELL: Duration = seconds(10);

/** The frame that says "I send no more". */
const NOTHING = new Uint8Array(0);

/**
 * Joins them until both are closed. Resolves with why the tunnel ended, in words, when that was not its proper end:
 * the program then sees its connection reset.
 */
export function joinTunnel(
  local: Socket,
  { socket: tunnel, head, halfClose }: TunnelSocket,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const read = createFrameReader();
  /** We have said, or heard, that the tunnel is over. */
  let closed = false;
  let trouble: string | undefined;
  let open = 2;

  const send = (frame: Uint8Array): boolean => !tunnel.writableEnded && tunnel.write(frame);

  /** Our part of the closing handshake; the agent ends the connection after its own. */
  function close(code: number, reason = ""): void {
    if (closed) return;
    closed = true;
    send(closeFrame(code, reason));
    bound(tunnel);
    tunnel.end();
    // Whatever still comes is nobody's.
    tunnel.resume();
  }

  function fail(why: string): void {
    trouble ??= why;
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
        return told(event.code, event.reason);
      case "violation":
        close(event.code, event.reason);
        return fail(`the agent speaks no proper WebSocket: ${event.reason}`);
    }
  }

  function told(code: number, reason: string): void {
    close(code === 1005 ? CLOSE.done : code);
    if (code !== CLOSE.done && code !== 1005)
      return fail(`the tunnel was closed: ${printable(reason) || `code ${code}`}`);
    // What came before is written first. What the program still sends has nowhere to go.
    bound(local);
    local.end();
    local.resume();
    return undefined;
  }

  const over = (): void => {
    if (--open > 0) return;
    signal.removeEventListener("abort", aborted);
    resolve(trouble);
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
    if (halfClose) send(clientFrame(OPCODE.binary, NOTHING));
    else close(CLOSE.done);
  });
  local.on("error", () => {}); // Its close follows.
  local.on("close", () => {
    close(CLOSE.done);
    over();
  });

  const hear = (bytes: Uint8Array): void => {
    for (const event of read(bytes)) take(event);
  };
  tunnel.on("data", hear);
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
  hear(head);
  if (local.destroyed) close(CLOSE.done);
  if (local.closed) over();
  if (tunnel.closed) fail("the connection to the agent was lost");
  if (!local.writableNeedDrain) tunnel.resume();
  local.resume();
  if (signal.aborted) aborted();
  return promise;
}

/** From when everything was written: until then a slow reader has its time. */
function bound(socket: Socket): void {
  socket.once("finish", () => {
    const timer = setTimeout(() => socket.destroy(), FAREWELL);
    socket.once("close", () => clearTimeout(timer));
  });
}
