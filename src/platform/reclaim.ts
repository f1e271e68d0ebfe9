// Gives memory back. JavaScriptCore collects when it needs room, which an agent at rest never does: what its start and
// its last work have left would stay for days. Measured: 10 of 82 MB after 50 projects came up, 2 MB of a start with
// both planes. A mere `Bun.gc(true)` brings a tenth of it: what it frees stays with the allocator.
import { type Duration, seconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";

export interface Usage {
  /** Bytes. */
  readonly resident: number;
  /** Processor time of this process so far. */
  readonly busy: Duration;
}

const LOOK: Duration = seconds(10);
/** It holds everything up for some 10 ms and throws compiled code away: not while there is work. */
const BUSY_SHARE = 0.05;
/** Less is not worth it; an idle agent grows by less in minutes. */
const GROWTH = 4_000_000;

/** `settled`: bytes after the last collection, 0 before the first. */
export const isWorthCollecting = (now: Usage, before: Usage, settled: number, passed: Duration): boolean =>
  now.busy - before.busy < BUSY_SHARE * passed && now.resident - settled >= GROWTH;

/** Looks now and then until `signal` aborts. Never rejects. */
export async function reclaimMemory(
  signal: AbortSignal,
  { usage = ownUsage, collect = () => Bun.shrink(), look = LOOK } = {},
): Promise<void> {
  let settled = 0;
  for (let before = usage(); ;) {
    await sleep(look, signal);
    if (signal.aborted) return;
    const now = usage();
    if (isWorthCollecting(now, before, settled, look)) {
      collect();
      // The allocator gives back a second later.
      await sleep(Math.min(look, seconds(2)), signal);
      settled = usage().resident;
    }
    before = usage();
  }
}

function ownUsage(): Usage {
  const { user, system } = process.cpuUsage();
  return { resident: process.memoryUsage.rss(), busy: (user + system) / 1_000 };
}
