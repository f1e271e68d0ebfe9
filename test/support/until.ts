// Waiting for a condition instead of for a time: what must come does come, on a slow machine too.
import { type Duration, milliseconds, seconds } from "../../src/lib/duration.ts";

/** The error names what was not so, and what `explain` knows by then. */
export async function until(
  what: string,
  holds: () => boolean,
  within: Duration = seconds(18),
  explain: () => string = () => "",
): Promise<void> {
  for (const end = performance.now() + within; !holds(); await Bun.sleep(milliseconds(3)))
    if (performance.now() > end) throw new Error(`not within ${within} ms: ${what}${explain()}`);
}
