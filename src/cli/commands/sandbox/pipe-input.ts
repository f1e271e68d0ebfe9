// What comes through a pipe, typed into a terminal no faster than the connection takes it.
import type { Readable } from "node:stream";
import { KIB, MIB } from "../../../lib/size.ts";
import { milliseconds } from "../../../lib/duration.ts";

/** What a terminal's driver takes for the end of the input, Ctrl-D. */
const END_OF_INPUT = 0x04;
const NEWLINE = 0x0a;

/** Bytes that wait in the socket: above the one, the pipe is left alone until they are below the other. */
const WAITING = { high: MIB, low: 256 * KIB };
/** A web socket does not tell when it has room again. */
const LOOK = milliseconds(10);

/** Ends with Ctrl-D on a line of its own: a shell that waits for more ends by it. */
export function typePipe(socket: Pick<WebSocket, "send" | "bufferedAmount">, pipe: Readable): Disposable {
  let last = NEWLINE;
  let timer: Timer | undefined;
  function hear(bytes: Buffer): void {
    if (bytes.length === 0) return;
    last = bytes.at(-1) ?? last;
    socket.send(bytes);
    if (socket.bufferedAmount <= WAITING.high || timer !== undefined) return;
    pipe.pause();
    timer = setInterval(() => {
      if (socket.bufferedAmount > WAITING.low) return;
      clearInterval(timer);
      timer = undefined;
      pipe.resume();
    }, LOOK);
  }
  const end = (): void =>
    socket.send(Uint8Array.from(last === NEWLINE ? [END_OF_INPUT] : [NEWLINE, END_OF_INPUT]));
  pipe.on("data", hear);
  pipe.once("end", end);
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      pipe.off("data", hear);
      pipe.off("end", end);
      pipe.pause();
    },
  };
}
