// A terminal of an agent that is no more: what it left running is ended, and the control plane is told.
import type { Duration } from "../lib/duration.ts";
import type { Log } from "../platform/log.ts";
import { hangUp } from "../platform/processes.ts";
import type { Channel } from "../realtime/channel.ts";
import { deliver } from "./delivery.ts";
import { terminalFamily } from "./family.ts";
import type { Ledger, LedgerEntry } from "./ledger.ts";
import { exited } from "./reports.ts";

export interface LeftOverPorts {
  readonly channel: Channel;
  readonly ledger: Ledger;
  readonly log: Log;
  readonly grace: Duration;
}

/** Resolves when the control plane knows, or `signal` aborted. Never rejects. */
export async function endLeftOver(
  { id, leader, end }: LedgerEntry,
  { channel, ledger, log, grace }: LeftOverPorts,
  signal: AbortSignal,
): Promise<void> {
  const outcome = end ?? { exitCode: null, reason: "the agent was restarted, and the terminal with it" };
  if (end === undefined) {
    const members = terminalFamily(id, leader);
    const count = members().length;
    const all = await hangUp(members, grace);
    const result = all ? "ended" : "not all could be ended";
    if (count > 0)
      log.warn("terminal", `${id.slice(0, 8)}: ${count} processes of an earlier agent, ${result}`, {
        session_id: id,
      });
    ledger.ended(id, outcome);
  }
  if ((await deliver(channel, exited(id, outcome), signal)) !== undefined) ledger.forget(id);
}
