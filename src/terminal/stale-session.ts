// Sessions that an earlier process of the agent left open: ends their processes and reports their end.
import { shortId } from "../lib/text.ts";
import type { Duration } from "../lib/duration.ts";
import type { ProcessTable } from "../platform/process-table.ts";
import type { Log } from "../platform/log.ts";
import { hangUp } from "../platform/processes.ts";
import type { Channel } from "../realtime/channel.ts";
import { deliver } from "./delivery.ts";
import { terminalProcesses } from "./process-tree.ts";
import type { SessionStore, StoredSession } from "./session-store.ts";
import { exited } from "./reports.ts";
import type { SessionEnd } from "./session-end.ts";

export interface StaleSessionPorts {
  readonly store: SessionStore;
  readonly log: Log;
  readonly listProcesses: () => Promise<ProcessTable>;
  /** Between the hang-up and SIGKILL. */
  readonly grace: Duration;
}

/**
 * Ends a stale session and reports its end. Resolves when the control plane has acknowledged it, or `signal` aborted.
 * Never rejects.
 */
export async function settleStaleSession(
  session: StoredSession,
  { channel, ...ports }: StaleSessionPorts & { readonly channel: Channel },
  signal: AbortSignal,
): Promise<void> {
  const outcome = await endStaleSession(session, ports);
  if ((await deliver(channel, exited(session.id, outcome), signal)) !== undefined)
    ports.store.forget(session.id);
}

/** Ends the processes of a stale session; the store keeps the end until it is reported. Never rejects. */
export async function endStaleSession(
  { id, leader, end }: StoredSession,
  { store, log, listProcesses, grace }: StaleSessionPorts,
): Promise<SessionEnd> {
  if (end !== undefined) return end;
  const outcome = { exitCode: null, reason: "the agent was restarted, and the terminal with it" };
  const processes = terminalProcesses(id, leader, listProcesses);
  const { length: count } = await processes();
  const all = await hangUp(processes, grace);
  const result = all ? "ended" : "not all could be ended";
  if (count > 0)
    log.warn("terminal", `${shortId(id)}: ${count} processes of an earlier agent, ${result}`, {
      session_id: id,
    });
  store.ended(id, outcome);
  return outcome;
}
