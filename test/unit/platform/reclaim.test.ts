// When the agent gives memory back: at rest, and when there is something to give.
import { expect, test } from "bun:test";
import { milliseconds, seconds } from "../../../src/lib/duration.ts";
import { type Usage, codeMappings, isWorthCollecting, reclaimMemory } from "../../../src/platform/reclaim.ts";

const at = (megabytes: number, busy = 0): Usage => ({ resident: megabytes * 1e6, busy });

test.each([
  ["after the start", at(60), at(60), 0, true],
  ["never while there is work", at(60, 5_000), at(60, 100), 0, false],
  ["not again while it stays as it is", at(51), at(51), 50e6, false],
  ["again when later work has left something", at(80), at(80), 50e6, true],
])("%s", (_, now, before, settled, collects) => {
  expect(isWorthCollecting(now, before, settled, seconds(10))).toBe(collects);
});

test("it collects once, again after growth, and ends with its signal", async () => {
  const end = new AbortController();
  let [resident, collected] = [60e6, 0];
  const grown = Promise.withResolvers<void>();
  const over = reclaimMemory(end.signal, {
    look: milliseconds(2),
    usage: () => ({ resident, busy: 0 }),
    collect() {
      collected++;
      resident = 50e6;
      if (collected === 1) setTimeout(() => (resident = 70e6), milliseconds(50));
      else grown.resolve();
    },
  });
  await grown.promise;
  end.abort();
  await over;
  expect(collected).toBe(2);
});

test("of all mappings only the code of the executable itself is given back", () => {
  const maps = [
    "00200000-02c2c000 r--p 00000000 fe:00 131 /usr/local/bin/noderax-agent",
    "02c2d000-05a00000 r-xp 02a2c000 fe:00 131 /usr/local/bin/noderax-agent",
    "05a01000-05c00000 rw-p 05800000 fe:00 131 /usr/local/bin/noderax-agent",
    "7f0000000000-7f0000001000 r-xp 00000000 fe:00 77 /usr/lib/libc.so.6",
    "7f0000002000-7f0000003000 rwxp 00000000 00:00 0 ",
    "7ffd0000000-7ffd0001000 r-xp 00000000 00:00 0 [vdso]",
    "",
  ].join("\n");
  expect(codeMappings(maps, "/usr/local/bin/noderax-agent")).toEqual([
    { start: 0x2c2d000n, size: 0x5a00000n - 0x2c2d000n },
  ]);
});

test("a real collection gives the memory of garbage back to the system", async () => {
  const script = `
    const { reclaimMemory } = await import(${JSON.stringify(`${import.meta.dir}/../../../src/platform/reclaim.ts`)});
    let garbage = Array.from({ length: 400_000 }, (_, n) => ({ n, text: "x" + n }));
    const held = process.memoryUsage.rss();
    garbage = undefined;
    void reclaimMemory(new AbortController().signal, { look: 200 });
    const end = Date.now() + 15_000;
    while (process.memoryUsage.rss() > held - 10e6 && Date.now() < end) await Bun.sleep(50);
    process.exit(process.memoryUsage.rss() <= held - 10e6 ? 0 : 1);`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "inherit", "inherit"] });
  expect(await child.exited).toBe(0);
}, 20_000);
