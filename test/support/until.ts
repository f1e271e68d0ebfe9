// Waiting for a condition instead of for a time: what must come does come, on a slow machine too.
import { jest } from "bun:test";
import { readFileSync } from "node:fs";
import { type Duration, milliseconds, seconds } from "../../src/lib/duration.ts";

/** Two busy cores: whatever must happen, happens within this. At a load of 25 some things have taken 45 s. */
export const SOON = seconds(100);

/**
 * Lets time pass that is itself what is tested: the length of an outage, a server that answers late. Not for waiting: use
 * `until`. To prove that nothing happens, wait for something that comes after it, or for rounds of the loop that would do it.
 */
export const elapse = (time: Duration): Promise<void> => Bun.sleep(time);

/** Lets everything that is ready to run do so. It waits for no time: a test that needs it knows the steps. */
export const turn = (): Promise<void> => Bun.sleep(0);

/** A megabyte of another program arrives: whatever was ready to be read before has been read by then. */
export async function anotherMegabyte(): Promise<void> {
  const program = Bun.spawn(["head", "-c", "1000000", "/dev/zero"], { stdout: "pipe" });
  await new Response(program.stdout).arrayBuffer();
  await program.exited;
}

/** The error names what was not so, and what `explain` knows by then. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  within: Duration = SOON,
  explain: () => string = () => "",
): Promise<void> {
  await eventually(what, holds, within, explain);
}

/** What `look` finds, once that is neither undefined nor false. While a test has stopped the clock, sockets are waited for. */
export async function eventually<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  within: Duration = SOON,
  explain: () => string = () => "",
): Promise<T> {
  for (const end = realNow() + within; ; await pause()) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (realNow() > end) throw new Error(`not within ${within} ms: ${what}${explain()}`);
  }
}

/** Resolves with a count that is above zero and did not change for `quiet`. */
export async function settled(
  count: () => number | Promise<number>,
  quiet: Duration = seconds(1),
): Promise<number> {
  for (let last = 0; ;) {
    const now = await count();
    if (now === last && now > 0) return now;
    last = now;
    await Bun.sleep(quiet);
  }
}

/** Resolves once a value has changed `times`: the last success of a loop, for so many rounds. */
export async function changes(what: string, value: () => unknown, times: number): Promise<void> {
  let last = await value();
  for (let n = 0; n < times; n++)
    await until(`${what} for the ${n + 1}. time`, async () => {
      const now = await value();
      if (now === last) return false;
      last = now;
      return true;
    });
}

const pause = (): Promise<void> =>
  jest.isFakeTimers() ? new Promise((resolve) => setImmediate(resolve)) : Bun.sleep(milliseconds(5));

/** Milliseconds since the boot, also while a test has stopped the clock. */
const realNow = (): Duration => seconds(Number.parseFloat(readFileSync("/proc/uptime", "latin1")));
