// What an operator types and how their window changes reaches the program: all of it, in order, the last size last.
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { setImmediate } from "node:timers/promises";
import { TEST_LIMIT, enrolledAgent } from "../support/agent.ts";
import { until } from "../support/until.ts";
import { opens } from "../support/terminal.ts";

setDefaultTimeout(TEST_LIMIT);

const END_OF_INPUT = "\u0004";
/** Lines that a tty takes, and of which none is like another. */
const lines = (count: number): string =>
  Array.from({ length: count }, (_, index) => `${index} ${"·-=".repeat(index % 17)}\n`).join("");

describe.concurrent("input", () => {
  test("of 10 000 keystrokes is in order", async () => {
    await using node = await enrolledAgent();
    using shell = await opens(node);
    const keys = Array.from({ length: 10_000 }, (_, index) =>
      index % 50 === 49 ? "\n" : String.fromCharCode(33 + ((index * 31) % 90)),
    );
    const file = node.file("typed");
    shell.types(`cat > ${file.path}\n`);
    for (const [index, key] of keys.entries()) {
      shell.types(key);
      if (index % 20 === 19) await setImmediate();
    }
    shell.types(END_OF_INPUT);
    await until("all of it is there", () => (file.text() ?? "").length >= keys.length);
    expect(file.text()).toBe(keys.join(""));
    expect(await shell.runs("echo done")).toBe("done");
  });

  test("of a paste of 200 kB is whole", async () => {
    await using node = await enrolledAgent();
    using shell = await opens(node);
    const text = lines(6_000);
    expect(Buffer.byteLength(text)).toBeGreaterThan(200_000);
    const file = node.file("pasted");
    shell.types(`cat > ${file.path}\n`);
    await shell.waits("cat runs", () => shell.processes().length > 1);
    shell.types(text);
    shell.types(END_OF_INPUT);
    expect(await shell.runs("echo done")).toBe("done");
    expect(file.text() === text).toBe(true);
  });

  test("goes to the program with every key, raw, as full-screen programs want it", async () => {
    await using node = await enrolledAgent();
    using shell = await opens(node);
    shell.types("stty raw; dd bs=1 count=8 2>/dev/null | od -An -tx1; stty cooked -echo -opost\n");
    await shell.waits("dd runs", () => shell.processes().length > 2);
    for (const key of ["\u0003", "\u001a", "\u0004", "\r", "\n", "\u0000", "\u007f", "\u001b"])
      shell.types(key);
    await shell.shows("03 1a 04 0d 0a 00 7f 1b");
  });
});

test("after 200 changes of the window the program knows the last one", async () => {
  await using node = await enrolledAgent();
  using shell = await opens(node);
  shell.types("trap 'changed=1' WINCH; echo read''y\n");
  await shell.shows("ready");
  for (let change = 1; change <= 200; change++) {
    node.sandbox.resizeTerminal(shell.id, 20 + ((change * 37) % 380), 10 + ((change * 11) % 190));
    if (change % 10 === 0) await setImmediate();
  }
  node.sandbox.resizeTerminal(shell.id, 133, 47);
  expect(await shell.runs("stty size")).toBe("47 133");
  expect(await shell.runs('echo "$changed $COLUMNS $LINES"')).toBe("1 133 47");
});
