// How output flows: at once when little comes, in full frames when much does, never faster than it is taken.
import { expect, setDefaultTimeout, test } from "bun:test";
import { OUTPUT_FRAME_MAX } from "../../../src/protocol/noderax/terminal.ts";
import { until } from "../../support/until.ts";
import { terminalNode } from "./harness.ts";

setDefaultTimeout(150_000);

test("one frame of a session is in flight, the rest is coalesced into full ones", async () => {
  await using node = terminalNode();
  node.channel.ackAfter = 5;
  const shell = await node.open();
  shell.type("seq 1 200000; echo do''ne\n");
  await shell.sees("done\r\n");
  expect(node.channel.mostInFlight()).toBe(1);
  const frames = node.channel.frames(shell.id);
  expect(Math.max(...frames.map(({ length }) => length))).toBe(OUTPUT_FRAME_MAX);
  const bytes = frames.reduce((sum, { length }) => sum + length, 0);
  expect(bytes / frames.length).toBeGreaterThan(20_000);
  const numbers = [...shell.text().matchAll(/^(\d+)\r$/gm)].map(([, n]) => Number(n));
  expect(numbers).toEqual(Array.from({ length: 200_000 }, (_, n) => n + 1));
});

test("each frame of a text in many languages decodes by itself", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  const line = "añ€😀語";
  node.channel.ackAfter = 1;
  shell.type(`i=0; while [ $i -lt 20000 ]; do echo '${line}'; i=$((i+1)); done | cat; echo do''ne\n`);
  await shell.sees("done\r\n");
  expect(shell.text()).not.toContain("\uFFFD");
  expect(shell.text().split(`${line}\r\n`).length).toBe(20_001);
});

test("bytes that are no text arrive as they are, and half a character does not wait for ever", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  shell.type("stty -echo; printf '\\342\\202'; read; printf '\\254\\377\\n'; echo do''ne\n");
  await until("the half", () => node.channel.bytes(shell.id).includes(Buffer.from([0xe2, 0x82])));
  shell.type("\n");
  await shell.sees("done\r\n");
  expect(node.channel.bytes(shell.id).includes(Buffer.from([0xe2, 0x82, 0xac, 0xff]))).toBe(true);
});

test("Ctrl-C ends a flood at once: what still comes is no more than was on its way", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  node.channel.counting = true;
  node.channel.ackAfter = 20;
  shell.type("yes\n");
  await until("it floods", () => node.channel.received > 1_000_000);
  const before = node.channel.received;
  shell.type("\x03");
  let last = -1;
  await until("silence", () => {
    const quiet = node.channel.received === last;
    last = node.channel.received;
    Bun.sleepSync(0);
    return quiet && performance.now() - lastChange(node.channel.received) > 200;
  });
  // What Bun reads in one turn before the program is halted, the queue, and the frames under way.
  expect(node.channel.received - before).toBeLessThan(2 ** 20 + 6 * OUTPUT_FRAME_MAX);
  node.channel.counting = false;
  node.channel.ackAfter = undefined;
  expect(await shell.run("echo still here")).toBe("still here");
});

test("a flood nobody takes costs no memory (needs FFI)", async () => {
  await using node = terminalNode();
  const shell = await node.open();
  node.channel.counting = true;
  node.channel.ackAfter = 50;
  shell.type("yes\n");
  await until("it floods", () => node.channel.received > 100_000);
  Bun.gc(true);
  const before = process.memoryUsage.rss();
  const goal = node.channel.received + 20 * OUTPUT_FRAME_MAX;
  await until("twenty frames are taken", () => node.channel.received > goal);
  expect(process.memoryUsage.rss() - before).toBeLessThan(30_000_000);
});

let seen = { received: -1, at: 0 };
/** When this count was seen for the first time. */
function lastChange(received: number): number {
  if (received !== seen.received) seen = { received, at: performance.now() };
  return seen.at;
}
