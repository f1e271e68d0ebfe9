// Types the input of a pipe into a terminal, as fast as the connection accepts it.
import type { Readable } from "node:stream";
import { KIB, MIB } from "../../../lib/size.ts";
import { milliseconds } from "../../../lib/duration.ts";

/** Ctrl-D, the terminal driver's end of input. */
const END_OF_INPUT = 0x04;
const NEWLINE = 0x0a;

/** Bytes buffered in the socket: above `high` the pipe is paused until they are below `low`. */
const BUFFERED = { high: MIB, low: 256 * KIB };
/** A WebSocket has no event for a drained buffer, so it is polled. */
const POLL_INTERVAL = milliseconds(10);

/** Copies the pipe until disposed. At its end sends Ctrl-D on a line of its own, which ends a waiting shell. */
export function typePipe(socket: Pick<WebSocket, "send" | "bufferedAmount">, pipe: Readable): Disposable {
  let last = NEWLINE;
  let timer: Timer | undefined;
  function copy(bytes: Buffer): void {
    if (bytes.length === 0) return;
    last = bytes.at(-1) ?? last;
    socket.send(bytes);
    if (socket.bufferedAmount <= BUFFERED.high || timer !== undefined) return;
    pipe.pause();
    timer = setInterval(() => {
      if (socket.bufferedAmount > BUFFERED.low) return;
      clearInterval(timer);
      timer = undefined;
      pipe.resume();
    }, POLL_INTERVAL);
  }
  const end = (): void =>
    socket.send(Uint8Array.from(last === NEWLINE ? [END_OF_INPUT] : [NEWLINE, END_OF_INPUT]));
  pipe.on("data", copy);
  pipe.once("end", end);
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      pipe.off("data", copy);
      pipe.off("end", end);
      pipe.pause();
    },
  };
}
