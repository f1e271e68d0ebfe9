// Types the input of a pipe into a terminal, as fast as the connection accepts it.
import type { Readable } from "node:stream";
import { KIB, MIB } from "../../../lib/size.ts";
import { milliseconds, seconds } from "../../../lib/duration.ts";

/** Ctrl-D, the terminal driver's end of input. */
const END_OF_INPUT = 0x04;
const NEWLINE = 0x0a;

/** Bytes buffered in the socket: above `high` the pipe is paused until they are below `low`. */
const BUFFERED = { high: MIB, low: 256 * KIB };
/**
 * How often the end of input is sent again. The kernel turns a Ctrl-D that a line-wise program leaves unread into a NUL
 * byte for the shell, which then waits for ever.
 */
const END_AGAIN = seconds(1);
/** A WebSocket has no event for a drained buffer, so it is polled. */
const POLL_INTERVAL = milliseconds(10);

/** Copies the pipe until disposed. At its end sends Ctrl-D on a line of its own, which ends a waiting shell, again and again. */
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
  let ending: Timer | undefined;
  const end = (): void => {
    socket.send(Uint8Array.from(last === NEWLINE ? [END_OF_INPUT] : [NEWLINE, END_OF_INPUT]));
    ending = setInterval(() => socket.send(Uint8Array.of(END_OF_INPUT)), END_AGAIN);
  };
  pipe.on("data", copy);
  pipe.once("end", end);
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      clearInterval(ending);
      pipe.off("data", copy);
      pipe.off("end", end);
      pipe.pause();
    },
  };
}
