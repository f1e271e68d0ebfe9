// The two clocks: what counts from the boot does not move with the wall clock, and the compiler keeps the two apart.
import { afterEach, expect, setSystemTime, test } from "bun:test";
import { hours, minutes, seconds } from "../../../src/lib/duration.ts";
import {
  type SteadyTime,
  type WallTime,
  epochOf,
  isoOf,
  parseUptime,
  steadyNow,
  steadyOf,
  wallFrom,
  wallNow,
  wallOf,
} from "../../../src/lib/clock.ts";

afterEach(() => void setSystemTime());

/** Sets the wall clock of this process. */
const step = (by: number): void => void setSystemTime(new Date(Date.now() + by));

test("steady time goes on where the wall clock is set back or forward", () => {
  const before = steadyNow();
  for (const by of [-hours(1), hours(3), -minutes(30)]) {
    step(by);
    expect(steadyNow() - before).toBeWithin(0, seconds(5));
  }
});

test("steady time counts from the boot, as another process of the same boot does", async () => {
  const clock = `${import.meta.dir}/../../../src/lib/clock.ts`;
  const program = `import { steadyNow } from ${JSON.stringify(clock)}; console.log(steadyNow())`;
  const before = steadyNow();
  const told = Number(await new Response(Bun.spawn([process.execPath, "-e", program]).stdout).text());
  expect(told).toBeWithin(before - 20, steadyNow() + 20);
});

test("a steady time is converted by the wall clock as it is set now", () => {
  const moment = steadyNow();
  step(-hours(1));
  expect(epochOf(wallOf(moment))).toBeWithin(Date.now() - seconds(5), Date.now() + 1);
  expect(isoOf(wallFrom(0))).toBe("1970-01-01T00:00:00.000Z");
});

test("a wall time of elsewhere becomes a steady one by its age", () => {
  const tenMinutesAgo = wallFrom(epochOf(wallNow()) - minutes(10));
  expect(steadyNow() - steadyOf(tenMinutesAgo)).toBeWithin(minutes(10) - 20, minutes(10) + seconds(5));
});

test.each([
  ["423.51 753.67\n", 423_510],
  ["0.03 0.00", 30],
  ["", undefined],
  ["soon", undefined],
])("/proc/uptime %p is %p ms", (text, expected) => {
  expect(parseUptime(text)).toBe(expected);
});

test("the compiler lets the two meet nowhere", () => {
  const [wall, steady]: [WallTime, SteadyTime] = [wallNow(), steadyNow()];
  // @ts-expect-error: compared
  expect(typeof (wall < steady)).toBe("boolean");
  // @ts-expect-error: subtracted
  expect(typeof (wall - steady)).toBe("number");
  // @ts-expect-error: a step may lie between two readings
  expect(typeof (wall - wall)).toBe("number");
  // @ts-expect-error: one taken for the other
  const wrong: SteadyTime = wall;
  expect(wrong).toBeDefined();
  // @ts-expect-error: a number of the wall clock taken for one of the steady clock
  const alsoWrong: SteadyTime = epochOf(wall);
  expect(alsoWrong).toBeDefined();
});
