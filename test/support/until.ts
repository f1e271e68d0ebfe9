// Waiting for a condition instead of for a time: what must come does come, on a slow machine too.
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

/** What `look` finds, once that is neither undefined nor false. */
export async function eventually<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  within: Duration = SOON,
  explain: () => string = () => "",
): Promise<T> {
  for (const end = performance.now() + within; ; await Bun.sleep(milliseconds(5))) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > end) throw new Error(`not within ${within} ms: ${what}${explain()}`);
  }
}
