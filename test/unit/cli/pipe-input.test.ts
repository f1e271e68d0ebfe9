// Pipes a large file into a terminal: as fast as the connection accepts it, and all of it arrives.
import { createHash } from "node:crypto";
import { type AddressInfo, type Socket, createServer } from "node:net";
import { Readable } from "node:stream";
import { expect, setDefaultTimeout, test } from "bun:test";
import { typePipe } from "../../../src/cli/commands/sandbox/pipe-input.ts";
import { seconds } from "../../../src/lib/duration.ts";
import { stopClock } from "../../support/fake-time.ts";
import { until } from "../../support/until.ts";

setDefaultTimeout(150_000);

/** Accepts a WebSocket, then reads nothing until it is told to. */
async function slowServer() {
  let client: Socket | undefined;
  let received = 0;
  const server = createServer((socket) => {
    client = socket;
    socket.on("error", () => {});
    socket.once("data", (request) => {
      const [, key] = /sec-websocket-key: (.*)\r\n/i.exec(request.toString()) ?? [];
      const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
      socket.pause();
      socket.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
          `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received: () => received,
    reads() {
      client?.on("data", (bytes) => void (received += bytes.length));
      client?.resume();
    },
    [Symbol.dispose]() {
      client?.destroy();
      server.close();
    },
  };
}

test("a pipe is paused while the socket buffers too much, and resumed after", async () => {
  using clock = stopClock();
  using server = await slowServer();
  const socket = new WebSocket(server.url);
  await new Promise((resolve) => socket.addEventListener("open", resolve, { once: true }));
  const chunk = Buffer.alloc(65_536, "x");
  const chunks = 640; // 42 MB: above all that the kernel takes.
  let read = 0;
  const pipe = Readable.from(
    (function* () {
      while (read < chunks) {
        read++;
        yield chunk;
      }
    })(),
  );
  using _typing = typePipe(socket, pipe);
  await until("the socket is full", () => pipe.isPaused());
  const before = read;
  await clock.pass(seconds(1)); // a hundred polls of the buffer
  expect(read).toBe(before);
  expect(socket.bufferedAmount).toBeLessThan(2 * 1_048_576);
  server.reads();
  await clock.during(until("all of it arrived", () => server.received() > chunks * chunk.length));
  await until("nothing is left to send", () => socket.bufferedAmount === 0);
  socket.close();
});

test("the end of the input is typed again every second, until nobody listens", async () => {
  using clock = stopClock();
  const sent: number[][] = [];
  const socket = { bufferedAmount: 0, send: (bytes: Uint8Array) => void sent.push([...bytes]) };
  const pipe = Readable.from([Buffer.from("exit")]);
  {
    using _typing = typePipe(socket, pipe);
    await clock.during(until("the end was typed", () => sent.length >= 2));
    expect(sent[1]).toEqual([0x0a, 0x04]);
    const before = sent.length;
    await clock.pass(seconds(3));
    expect(sent.slice(before)).toEqual([[0x04], [0x04], [0x04]]);
  }
  const after = sent.length;
  await clock.pass(seconds(3));
  expect(sent).toHaveLength(after);
});
