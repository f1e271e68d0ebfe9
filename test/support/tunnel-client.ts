// A tunnel's client that can do what no library lets one do: not read, half-close, break off.
import { createFrameReader, OPCODE, clientFrame, closeFrame } from "../../src/peer/websocket-frames.ts";
import { openTunnel } from "../../src/peer/tunnel.ts";
import { forwardPath } from "../../src/protocol/caravanserai/tunnel.ts";
import type { Listener } from "./tunnel.ts";

export interface TunnelClient extends Disposable {
  readonly halfClose: boolean;
  /** What came, the first megabyte of it. */
  readonly bytes: () => Buffer;
  readonly received: () => number;
  /** Empty messages that came. */
  readonly ends: () => number;
  send(bytes: Uint8Array | string): boolean;
  /** Half-closes. */
  end(): void;
  close(code?: number): void;
  /** Reads nothing any more, or goes on. */
  stall(): void;
  read(): void;
  reset(): void;
  /** The close frame; 1006 when the connection ended without one. */
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
  /** Resolves when as much was received. */
  has(bytes: number): Promise<void>;
  drained(): Promise<void>;
}

/** What is only counted is not copied. */
const KEPT_MAX = 1024 * 1024;

export async function tunnelClient(
  listener: Pick<Listener, "port">,
  port: number,
  { name = "app/svc", stalled = false } = {},
): Promise<TunnelClient> {
  const [project = "", service = ""] = name.split("/");
  const url = `http://127.0.0.1:${listener.port}`;
  const agent = { name: "node", url, token: undefined, authorities: () => "" };
  const path = forwardPath(project, service, port);
  const { socket, head, halfClose } = await openTunnel(agent, path, new AbortController().signal);
  const read = createFrameReader();
  const kept: Buffer[] = [];
  let [received, ends] = [0, 0];
  const closed = Promise.withResolvers<{ code: number; reason: string }>();
  const waiting = new Set<() => void>();
  const hear = (chunk: Uint8Array): void => {
    for (const event of read(chunk)) {
      if (event.type === "data") {
        received += event.bytes.length;
        if (received <= KEPT_MAX) kept.push(Buffer.from(event.bytes));
      }
      if (event.type === "empty") ends++;
      if (event.type === "ping") socket.write(clientFrame(OPCODE.pong, event.payload));
      if (event.type !== "close") continue;
      closed.resolve({ code: event.code, reason: event.reason });
      socket.end(closeFrame(event.code === 1005 ? 1000 : event.code));
    }
    for (const wake of waiting) wake();
  };
  socket.on("data", hear);
  socket.on("close", () => closed.resolve({ code: 1006, reason: "" }));
  socket.on("end", () => socket.end());
  hear(head);
  if (!stalled) socket.resume();
  else socket.pause();
  const until = (met: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (!met()) return;
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      look();
    });
  return {
    halfClose,
    bytes: () => Buffer.concat(kept),
    received: () => received,
    ends: () => ends,
    send: (bytes) => socket.write(clientFrame(OPCODE.binary, Buffer.from(bytes))),
    end: () => void socket.write(clientFrame(OPCODE.binary, new Uint8Array(0))),
    close: (code = 1000) => void socket.write(closeFrame(code)),
    stall: () => void socket.pause(),
    read: () => void socket.resume(),
    reset: () => void socket.resetAndDestroy(),
    closed: closed.promise,
    has: (bytes) => until(() => received >= bytes),
    drained: () => new Promise((resolve) => void socket.once("drain", () => resolve())),
    [Symbol.dispose]: () => void socket.destroy(),
  };
}
