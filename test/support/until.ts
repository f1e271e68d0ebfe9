// Waiting for a condition instead of for a time: what must come does come, on a slow machine too.
import { jest } from "bun:test";
import { readFileSync } from "node:fs";
import { type Duration, milliseconds, seconds } from "../../src/lib/duration.ts";

/** Two busy cores: whatever must happen, happens within this. */
export const SOON = seconds(40);

/** Lets everything that is ready to run do so. It waits for no time: a test that needs it knows the steps. */
export const turn = (): Promise<void> => Bun.sleep(0);

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

const pause = (): Promise<void> =>
  jest.isFakeTimers() ? new Promise((resolve) => setImmediate(resolve)) : Bun.sleep(milliseconds(5));

/** Milliseconds since the boot, also while a test has stopped the clock. */
const realNow = (): Duration => seconds(Number.parseFloat(readFileSync("/proc/uptime", "latin1")));
