// Tells the roll-out of a control plane how far an update is. An update never waits for it, nor fails because of it.
import { createHttp } from "../../control/http.ts";
import { mayPass, retry } from "../../control/retry.ts";
import { sendUpdateProgress } from "../../control/noderax-api.ts";
import { trustedAuthorities } from "../../control/trust.ts";
import { readIdentity } from "../../identity/identity-file.ts";
import { messageOf } from "../../lib/agent-error.ts";
import { backoff } from "../../lib/backoff.ts";
import { sleep } from "../../lib/loop.ts";
import type { UpdateProgress } from "../../protocol/noderax/tasks.ts";
import type { UpdateTarget } from "./state.ts";

/** The percentages that the roll-out screen expects. */
const PERCENT: Readonly<Record<UpdateProgress["status"], number>> = {
  downloading: 20,
  verifying: 45,
  installing: 70,
  restarting: 90,
  waiting_for_reconnect: 95,
  failed: 95,
};

export interface ProgressReport {
  /** Sends a step, once, behind the earlier ones. */
  tell(status: Exclude<UpdateProgress["status"], "failed">, message: string): void;
  /** Sends the failure, and tries for ten minutes. Never rejects. */
  failed(message: string): Promise<void>;
}

/** Reports to nobody when no roll-out asked for the update. `problem` is called for what could not be sent. */
export function createProgressReport(
  target: UpdateTarget | undefined,
  problem: (text: string) => void,
  signal: AbortSignal,
): ProgressReport {
  if (target === undefined) return { tell: () => {}, failed: async () => {} };
  const { id, apiUrl, stateFile, caFile } = target;
  let last = Promise.resolve();

  async function send(status: UpdateProgress["status"], message: string, tries: number): Promise<void> {
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        // Read each time: it may be replaced meanwhile.
        const identity = readIdentity(stateFile);
        if (identity === undefined) return problem("this machine has no identity to report the update with");
        const http = createHttp({ baseUrl: apiUrl, authorities: () => trustedAuthorities(caFile) });
        const body = { status, progressPercent: PERCENT[status], message };
        await sendUpdateProgress(http, identity, id, body, signal);
        return;
      } catch (error) {
        if (attempt >= tries || !mayPass(error))
          return problem(`the control plane was not told of the update (${status}): ${messageOf(error)}`);
        await sleep(backoff(retry.updateReport, attempt, Math.random), signal);
      }
    }
  }

  const after = (status: UpdateProgress["status"], message: string, tries: number): Promise<void> =>
    (last = last.then(() => send(status, message, tries)));
  return {
    tell: (status, message) => void after(status, message, 1),
    failed: (message) => after("failed", message, retry.updateReport.tries),
  };
}
