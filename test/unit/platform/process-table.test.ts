// Who is alive and who belongs together; and that asking for it, again and again, leaves the agent its time.
import { expect, setDefaultTimeout, test } from "bun:test";
import { milliseconds, minutes, seconds } from "../../../src/lib/duration.ts";
import {
  processesOf,
  sharedProcessTable,
  readProcessTable,
  withDescendants,
} from "../../../src/platform/process-table.ts";
import { identify, pauseAfterReading, terminate } from "../../../src/platform/processes.ts";
import { until } from "../../support/until.ts";

setDefaultTimeout(150_000);

const VARIABLE = "NODERAX_TEST_MARKER";

/** Uses the processor for as long. */
function works(length: number): void {
  for (const end = performance.now() + length; performance.now() < end;);
}

test("the marker is found wherever it stands in the environment, and only as a whole", async () => {
  const marker = `${VARIABLE}=${crypto.randomUUID()}`;
  const [name = "", value = ""] = marker.split("=");
  const environments = {
    first: { [name]: value, Z: "z" },
    last: { A: "a".repeat(5_000), [name]: value },
    longer: { [name]: `${value}x` },
    prefixed: { [`X${name}`]: value },
    within: { A: `x ${marker}` },
  };
  const children = Object.entries(environments).map(([what, env]) => ({
    what,
    child: Bun.spawn(["/bin/sleep", "60"], { env, stdio: ["ignore", "ignore", "ignore"] }),
  }));
  try {
    const found = (): string[] => {
      const found = processesOf({ leader: undefined, marker, unit: undefined });
      return children.filter(({ child }) => found.includes(child.pid)).map(({ what }) => what);
    };
    await until("both are found", () => found().length >= 2);
    expect(found()).toEqual(["first", "last"]);
  } finally {
    for (const { child } of children) child.kill("SIGKILL");
    await Promise.all(children.map(({ child }) => child.exited));
  }
});

test("a process belongs to its session's leader, and its children to it", async () => {
  const child = Bun.spawn(["/bin/sh", "-c", "sleep 60 & sleep 60 & wait"], {
    stdio: ["ignore", "ignore", "ignore"],
  });
  try {
    const table = readProcessTable(VARIABLE);
    expect(withDescendants([process.pid], table)).toContain(child.pid);
    await until("both run", () => withDescendants([child.pid], readProcessTable(VARIABLE)).length === 3);
    const ours = withDescendants([child.pid], readProcessTable(VARIABLE));
    const leader = identify(table.get(process.pid)?.session ?? 0);
    expect(processesOf({ leader, marker: "NO=NE", unit: undefined })).toEqual(
      expect.arrayContaining(leader === undefined ? [] : [...ours, process.pid]) as number[],
    );
    for (const pid of ours) if (pid !== child.pid) process.kill(pid, "SIGKILL");
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
});

test("all who ask at the same time get one table, taken after they asked", async () => {
  let taken = 0;
  const next = sharedProcessTable(VARIABLE, (name) => {
    taken++;
    return readProcessTable(name);
  });
  const together = await Promise.all(Array.from({ length: 20 }, next));
  expect(taken).toBe(1);
  expect(new Set(together).size).toBe(1);
  const child = Bun.spawn(["/bin/sleep", "60"], { stdio: ["ignore", "ignore", "ignore"] });
  try {
    expect((await next()).has(child.pid)).toBe(true);
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
});

test("one that cannot be taken fails for those who wait, not for the next", async () => {
  let good = false;
  const next = sharedProcessTable(VARIABLE, () => {
    if (!good) throw new Error("too many open files");
    return new Map();
  });
  expect(await next().catch(String)).toBe("Error: too many open files");
  good = true;
  expect(await next()).toEqual(new Map());
});

test("between two of them lies ten times as long as one takes", async () => {
  const next = sharedProcessTable(VARIABLE, () => {
    works(milliseconds(20));
    return new Map();
  });
  const begun = performance.now();
  for (let n = 0; n < 4; n++) await next();
  expect(performance.now() - begun).toBeGreaterThanOrEqual(4 * 20 + 3 * 200 - 10);
});

test("a machine that stood still during a reading does not cause a pause ten times as long", () => {
  expect(pauseAfterReading(milliseconds(4))).toBe(40);
  expect(pauseAfterReading(minutes(10))).toBe(1_000);
});

test("the longer a reading takes, the rarer are the readings while waiting for an end", async () => {
  let looks = 0;
  const begun = performance.now();
  const nobody = 2 ** 22 + 1;
  const ended = await terminate(() => {
    works(milliseconds(30));
    return ++looks <= 3 ? [nobody] : [];
  }, seconds(20));
  expect(ended).toBe(true);
  expect(performance.now() - begun).toBeGreaterThanOrEqual(4 * 30 + 3 * 300 - 10);
});
