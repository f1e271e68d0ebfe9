// When the agent collects, and when it gives memory back: as soon as there is something to give, and not too often.
import { expect, test } from "bun:test";
import { milliseconds } from "../../../src/lib/duration.ts";
import { codeMappings, createReclaim } from "../../../src/platform/reclaim.ts";

/** Checks of so many resident megabytes and percent of a core each; anonymous megabytes where they are of interest. */
type Checks = readonly (readonly [megabytes: number, busy: number, anonymous?: number])[];

/** The readings after which an agent gave all back, and after which it only collected. */
async function reclaims(checks: Checks): Promise<{ givenBack: number[]; collected: number[] }> {
  const [givenBack, collected]: [number[], number[]] = [[], []];
  let [reading, busy] = [0, 0];
  const reclaim = createReclaim({
    period: milliseconds(100),
    usage() {
      const [megabytes, more, anonymous = 0] = checks[reading++] ?? [0, 0];
      busy += more;
      return { resident: megabytes * 1e6, anonymous: anonymous * 1e6, busy };
    },
    collect: () => void collected.push(reading),
    giveBack: () => void givenBack.push(reading),
  });
  while (reading < checks.length) await reclaim();
  return { givenBack, collected };
}

const givesBackAfter = async (checks: Checks): Promise<number[]> => (await reclaims(checks)).givenBack;

const REST = [60, 0] as const;
const WORK = [60, 50] as const;

test("it gives memory back once after the start, however the agent's memory moves at rest", async () => {
  expect(await givesBackAfter([REST, REST, REST, [70, 0], [80, 1], [90, 0], [60, 0], [99, 1]])).toHaveLength(
    1,
  );
});

test("it waits for the end of the work, and is there again after more of it", async () => {
  const collected = await givesBackAfter([
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
  expect(await givesBackAfter([REST, REST, [50, 0], [80, 50], [80, 50], [80, 0], REST])).toHaveLength(2);
});

test("caches of other parts are released right before, so that their memory is given back, too", async () => {
  const calls: string[] = [];
  const reclaim = createReclaim({
    usage: () => ({ resident: 60e6, anonymous: 20e6, busy: 0 }),
    releaseCaches: () => void calls.push("caches"),
    giveBack: () => void calls.push("memory"),
  });
  for (let check = 0; check < 5; check++) await reclaim();
  expect(calls).toEqual(["caches", "memory"]);
});

test("work that has left nothing is no reason", async () => {
  expect(await givesBackAfter([REST, REST, REST, REST, WORK, REST, REST, REST, WORK, REST])).toHaveLength(1);
});

/** Checks of an agent that grows by so many megabytes from each to the next. */
const growing = (megabytes: number, busy: number): Checks =>
  Array.from({ length: 21 }, (_, n) => [60 + n * megabytes, busy, 20 + n * megabytes]);

test("what steady work leaves is collected now and then, and not given back before the work ends", async () => {
  expect(await reclaims(growing(1, 50))).toEqual({ givenBack: [], collected: [7, 13, 19] });
});

test("what little work leaves, too little to be called work, is collected as well", async () => {
  expect(await reclaims(growing(1, 1))).toEqual({ givenBack: [2], collected: [9, 15, 21] });
});

test.each([0, 0.1])("growth of %d MB a check is no reason to collect", async (megabytes) => {
  expect((await reclaims(growing(megabytes, 50))).collected).toEqual([]);
});

test("under light work without a rest, all is given back after the start and then every thirty checks", async () => {
  const checks = Array.from({ length: 80 }, (_, n) => [60 + n, 3] as const);
  expect(await givesBackAfter(checks)).toEqual([2, 33, 64]);
});

test("a rest that begins right after it was given back under light work is followed by another time", async () => {
  const light = Array.from({ length: 34 }, (_, n) => [60 + n, 3] as const);
  expect(await givesBackAfter([...light, [100, 0], [100, 0], [100, 0]])).toEqual([2, 33, 35]);
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
