// Waits for the lock of a package manager, and says in the log who holds it.
import { AgentError } from "../lib/agent-error.ts";
import { steadyNow } from "../lib/clock.ts";
import { humanDuration, minutes, seconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import type { PackageManager } from "./adapter.ts";
import { type LockHolder, describeHolder, lockHolders } from "./lock-holder.ts";

export const LOCK_POLL = seconds(1);
/** How often the log repeats who holds the lock. */
const REPEAT = minutes(1);

/**
 * Resolves when no other process holds a lock of the manager. Rejects when `stop` aborts. Throws "packages.locked" for a lock
 * file without a process, which would be waited for without an end.
 */
export async function waitForLock(
  manager: PackageManager,
  out: (line: string) => void,
  stop: AbortSignal,
): Promise<void> {
  const begun = steadyNow();
  let logged: { readonly pids: string; readonly at: number } | undefined;
  for (;;) {
    stop.throwIfAborted();
    const holders = lockHolders(manager.locks);
    if (holders.length === 0) break;
    refuseStaleLock(manager, holders);
    const pids = holders.map(({ pid }) => pid).join(" ");
    if (pids !== logged?.pids || steadyNow() - logged.at > REPEAT) {
      out(`waiting for the lock of ${manager.name}, held by ${holders.map(describeHolder).join(" and ")}`);
      logged = { pids, at: steadyNow() };
    }
    await sleep(LOCK_POLL, stop);
  }
  if (logged !== undefined) out(`the lock is free after ${humanDuration(steadyNow() - begun)}`);
}

/** A lock file that nobody has open is left from a crash. It is not ours to remove. */
function refuseStaleLock(manager: PackageManager, holders: readonly LockHolder[]): void {
  const stale = holders.find(
    ({ path, pid }) =>
      pid === undefined && manager.locks.some((lock) => lock.path === path && lock.kind === "file"),
  );
  if (stale === undefined) return;
  throw new AgentError(
    "packages.locked",
    `${stale.path} exists, but no process has it open: it is left from a run that was interrupted. Make sure that no ${manager.name} runs, then: rm ${stale.path}`,
  );
}
