// When the agent gives memory back: at rest, and when there is something to give.
import { expect, test } from "bun:test";
import { milliseconds } from "../../../src/lib/duration.ts";
import { codeMappings, createReclaim } from "../../../src/platform/reclaim.ts";

/** An agent that collects after `looks` of so many megabytes and milliseconds of work each. */
async function collectsAfter(
  looks: readonly (readonly [megabytes: number, busy: number])[],
): Promise<number[]> {
  const end = new AbortController();
  const collected: number[] = [];
  let [look, busy] = [0, 0];
  const reclaim = createReclaim({
    period: milliseconds(100),
    usage() {
      const [megabytes, more] = looks[look] ?? [0, 0];
      busy += more;
      if (++look > looks.length) end.abort();
      return { resident: megabytes * 1e6, busy };
    },
    collect: () => void collected.push(look),
  });
  while (!end.signal.aborted) await reclaim();
  return collected;
}

const REST = [60, 0] as const;
const WORK = [60, 50] as const;

test("it gives memory back once after the start, however the agent's memory moves at rest", async () => {
  expect(await collectsAfter([REST, REST, REST, [70, 0], [80, 1], [90, 0], [60, 0], [99, 1]])).toHaveLength(
    1,
  );
});

test("it waits for the end of the work, and is there again after more of it", async () => {
  const collected = await collectsAfter([
    REST,
    WORK,
    WORK,
    REST,
    REST,
    REST,
    [80, 50],
    [80, 0],
    [80, 0],
    REST,
  ]);
  expect(collected).toHaveLength(2);
  expect(collected[0]).toBeGreaterThan(3);
});

test("work that comes right after it was given back is followed by another time", async () => {
  expect(await collectsAfter([REST, REST, [50, 0], [80, 50], [80, 50], [80, 0], REST])).toHaveLength(2);
});

test("work that has left nothing is no reason", async () => {
  expect(await collectsAfter([REST, REST, REST, REST, WORK, REST, REST, REST, WORK, REST])).toHaveLength(1);
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
    const { createReclaim } = await import(${JSON.stringify(`${import.meta.dir}/../../../src/platform/reclaim.ts`)});
    let garbage = Array.from({ length: 400_000 }, (_, n) => ({ n, text: "x" + n }));
    const held = process.memoryUsage.rss();
    garbage = undefined;
    const reclaim = createReclaim({ period: 200 });
    setInterval(reclaim, 200);
    // By itself the runtime needs twice as long.
    const end = Date.now() + 6_000;
    while (process.memoryUsage.rss() > held - 10e6 && Date.now() < end) await Bun.sleep(50);
    process.exit(process.memoryUsage.rss() <= held - 10e6 ? 0 : 1);`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "inherit", "inherit"] });
  expect(await child.exited).toBe(0);
}, 20_000);
