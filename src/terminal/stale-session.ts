// A terminal of an agent that is no more: what it left running is ended, and the control plane is told.
import { shortId } from "../lib/text.ts";
import type { Duration } from "../lib/duration.ts";
import type { Census } from "../platform/process-table.ts";
import type { Log } from "../platform/log.ts";
import { hangUp } from "../platform/processes.ts";
import type { Channel } from "../realtime/channel.ts";
import { deliver } from "./delivery.ts";
import { terminalFamily } from "./process-tree.ts";
import type { Ledger, LedgerEntry } from "./session-store.ts";
import { exited } from "./reports.ts";
import type { SessionEnd } from "./session-end.ts";

export interface LeftOverPorts {
  readonly ledger: Ledger;
  readonly log: Log;
  readonly look: () => Promise<Census>;
  readonly grace: Duration;
}

/** Resolves when the control plane knows, or `signal` aborted. Never rejects. */
export async function settleLeftOver(
  entry: LedgerEntry,
  { channel, ...ports }: LeftOverPorts & { readonly channel: Channel },
  signal: AbortSignal,
): Promise<void> {
  const outcome = await endLeftOver(entry, ports);
  if ((await deliver(channel, exited(entry.id, outcome), signal)) !== undefined)
    ports.ledger.forget(entry.id);
}

/** Ends what still runs of it; that the control plane is to be told stays in the ledger. Never rejects. */
export async function endLeftOver(
  { id, leader, end }: LedgerEntry,
  { ledger, log, look, grace }: LeftOverPorts,
): Promise<SessionEnd> {
  if (end !== undefined) return end;
  const outcome = { exitCode: null, reason: "the agent was restarted, and the terminal with it" };
  const members = terminalFamily(id, leader, look);
  const { length: count } = await members();
  const all = await hangUp(members, grace);
  const result = all ? "ended" : "not all could be ended";
  if (count > 0)
    log.warn("terminal", `${shortId(id)}: ${count} processes of an earlier agent, ${result}`, {
      session_id: id,
    });
  ledger.ended(id, outcome);
  return outcome;
}
