// What a program writes is what the transcript has: in order, byte for byte, whole characters in every frame.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { milliseconds } from "../../src/lib/duration.ts";
import { OUTPUT_FRAME_MAX } from "../../src/protocol/noderax/terminal.ts";
import { TEST_LIMIT, enrolledAgent, enrolledProcess } from "../support/agent.ts";
import { until } from "../support/until.ts";
import { type Console, opens } from "../support/terminal.ts";
import { peakMemoryOf } from "../support/processes.ts";

setDefaultTimeout(TEST_LIMIT);

const EVERYTHING = { transcriptLimit: 1e9 };

/** Every frame is text by itself; a decoder that is not told of its neighbours throws otherwise. */
const decoded = (shell: Console): string =>
  shell
    .frames()
    .map((frame) => new TextDecoder("utf-8", { fatal: true }).decode(frame))
    .join("");

describe.concurrent("output", () => {
  test("of 300 numbered lines is in order, though the server handles frames side by side", async () => {
    await using node = await enrolledAgent({ sandbox: { timings: { frameRaceWindow: 15 } } });
    using shell = await opens(node);
    await shell.runs('for i in $(seq 300); do echo "line $i"; sleep 0.004; done');
    const numbers = [...shell.text().matchAll(/line (\d+)\n/g)].map(([, number]) => Number(number));
    expect(numbers).toEqual(Array.from({ length: 300 }, (_, index) => index + 1));
    // In one frame nothing could have been overtaken. The busier the machine, the more lines are in a frame.
    expect(shell.frames().length).toBeGreaterThan(2);
  });

  test("of a text in many languages is the text, and each frame of it is text by itself", async () => {
    await using node = await enrolledAgent({ sandbox: { timings: { transcriptLimit: 1e8 } } });
    using shell = await opens(node);
    const text = "Grüße, 世界 — Ελλάδα, Привет 👩🏽‍🚀 क्षि; €".repeat(20_000);
    const file = node.file("text");
    writeFileSync(file.path, text);
    shell.types(`exec cat ${file.path}\n`);
    expect(await shell.ends()).toMatchObject({ exit_code: 0 });
    expect(decoded(shell) === text).toBe(true);
    const sizes = shell.frames().map(({ length }) => length);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(OUTPUT_FRAME_MAX);
    // Few large frames: a browser that comes back is shown the first 200.
    expect(sizes.length).toBeLessThan((2 * Buffer.byteLength(text)) / OUTPUT_FRAME_MAX);
  });

  test("that is no text arrives as it is", async () => {
    await using node = await enrolledAgent();
    using shell = await opens(node);
    const bytes = Buffer.from(
      Array.from({ length: 65_536 }, (_, index) => (index * 7 + (index >> 8)) & 0xff),
    );
    const file = node.file("bytes");
    writeFileSync(file.path, bytes);
    shell.types(`exec cat ${file.path}\n`);
    await shell.ends();
    expect(shell.bytes().equals(bytes)).toBe(true);
  });

  test("of a flood stops at Ctrl-C, and the prompt is back", async () => {
    await using node = await enrolledAgent({ sandbox: { timings: EVERYTHING } });
    using shell = await opens(node);
    shell.types("PS1='at your service> '\n");
    await shell.shows("at your service> ");
    shell.types("yes\n");
    await shell.waits("it floods", () => shell.bytes().length > 1_000_000);
    shell.types("\u0003");
    await shell.shows(/at your service> $/);
    expect(await shell.runs("echo alive")).toBe("alive");
  });
});

test("100 MB through cat are the same 100 MB, and the agent's memory stays bounded", async () => {
  await using node = await enrolledProcess({
    sandbox: { timings: { ...EVERYTHING, frameRaceWindow: milliseconds(0) } },
  });
  using shell = await opens(node);
  const file = node.file("large");
  const [wanted, got] = [new Bun.CryptoHasher("sha256"), new Bun.CryptoHasher("sha256")];
  const sink = Bun.file(file.path).writer();
  for (let part = 0; part < 100; part++) {
    const megabyte = `${part} ${crypto.randomUUID()}\n`.repeat(50_000).slice(0, 1_000_000);
    wanted.update(megabyte);
    await sink.write(megabyte);
  }
  await sink.end();
  let received = 0;
  using _watch = node.sandbox.watchTerminal(shell.id, (event) => {
    if (event.kind !== "chunk" || event.chunk.direction === "input") return;
    const bytes = Buffer.from(event.chunk.payload, "base64");
    received += bytes.length;
    got.update(bytes);
  });
  const before = peakMemoryOf(node.pid);
  shell.types(`exec cat ${file.path}\n`);
  let after = before;
  await until("100 MB have come", () => {
    after = peakMemoryOf(node.pid);
    return received >= 100_000_000 || shell.document.status === "closed";
  });
  expect(shell.document.closed_reason).toBeNull();
  await until("it ends", () => shell.document.status === "closed");
  expect({ received, hash: got.digest("hex") }).toEqual({ received: 1e8, hash: wanted.digest("hex") });
  // What is ahead of the control plane is a burst of 16 MB at most, and its copies; all of it would be 250.
  expect(after - before).toBeLessThan(128);
});
