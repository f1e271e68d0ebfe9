// The agent's own watchdog: finds loops that hang, ends the agent then, and tells systemd that it works as long as none does.
//
// An unreachable server never counts: a round that fails ends, and its loop rests and tries again.
import { AgentError } from "../lib/agent-error.ts";
import { type SteadyTime, steadyNow } from "../lib/clock.ts";
import { type Duration, milliseconds, minutes, seconds } from "../lib/duration.ts";
import { type LoopRecord, sleep } from "../lib/loop.ts";
import type { Status } from "./status.ts";
import type { ServiceManager } from "../platform/notify.ts";

/** A round is a few requests of 10 s each by default; a timer of this process fires within milliseconds. */
const HANGING_AFTER = minutes(5);
/** Where nobody asks for it more often. */
const LOOK_EVERY = seconds(20);
/** A long `request_timeout` makes rounds that long: a request and its repetitions. */
const REQUESTS_IN_A_ROUND = 4;

/** Returns how overdue a loop must be to count as hanging. */
export const hangingAfter = (requestTimeout: Duration): Duration =>
  Math.max(HANGING_AFTER, REQUESTS_IN_A_ROUND * requestTimeout);

/**
 * The names of the loops that hang: their next round is overdue by more than `limit`, or, where rounds are bounded, this
 * one has taken longer. Pure.
 */
export function hangingLoops(
  records: readonly LoopRecord[],
  now: SteadyTime,
  limit: Duration,
): readonly string[] {
  return records
    .filter(({ nextAt, lastStart, bounded }) => {
      if (nextAt !== undefined) return now - nextAt > limit;
      return bounded && lastStart !== undefined && now - lastStart > limit;
    })
    .map(({ name }) => name);
}

/** One line for `systemctl status`. Pure. */
export function statusLine({ noderax, caravanserai }: Pick<Status, "noderax" | "caravanserai">): string {
  const session = noderax?.session?.state;
  return [
    noderax ? `noderax ${session ?? noderax.standing} (${noderax.api_url})` : "",
    caravanserai ? `caravanserai ${caravanserai.state ?? "connecting"} (${caravanserai.server_url})` : "",
  ]
    .filter(Boolean)
    .join("; ");
}

/**
 * Looks after the loops until `signal` aborts; resolves then. Rejects with an AgentError when one hangs: the process must
 * end, so that its service manager starts it again.
 */
export async function watchLoops(
  agent: { loops(): readonly LoopRecord[]; status(): Status },
  manager: ServiceManager,
  limit: Duration,
  signal: AbortSignal,
): Promise<void> {
  // Thrice in the time that is allowed: one that comes late is no reason to be killed.
  const every = Math.min(LOOK_EVERY, milliseconds((manager.watchdog ?? Infinity) / 3));
  for (; !signal.aborted; await sleep(every, signal)) {
    const hanging = hangingLoops(agent.loops(), steadyNow(), limit);
    if (hanging.length > 0)
      throw new AgentError(
        "agent.hangs",
        `${hanging.join(" and ")} made no progress for ${limit / 60_000} min`,
      );
    manager.notify(`WATCHDOG=1\nSTATUS=${statusLine(agent.status())}`);
  }
}
