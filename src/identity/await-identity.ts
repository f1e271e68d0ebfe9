// Waits for an identity, from `enroll` or from an open enrollment, and reports what it waits for.
import { abortScope } from "../lib/abort-scope.ts";
import { epochOf, isoOf, wallFrom, wallNow } from "../lib/clock.ts";
import { AgentError, messageOf, hasCode } from "../lib/agent-error.ts";
import { seconds } from "../lib/duration.ts";
import { type LoopReport, sleep } from "../lib/loop.ts";
import type { Settings } from "../config/options.ts";
import type { PublicApi } from "../control/noderax-api.ts";
import type { Log } from "../platform/log.ts";
import { ENROLLMENT_LIFE } from "../protocol/noderax/limits.ts";
import { awaitApproval } from "./enrollment.ts";
import {
  type Identity,
  type PendingEnrollment,
  clearPending,
  knownIdentity,
  readPending,
  writeIdentity,
} from "./identity-file.ts";

export interface AwaitPorts {
  readonly settings: Pick<Settings, "node_id" | "agent_token" | "state_file" | "enrollment_token">;
  readonly api: PublicApi;
  readonly apiUrl: string;
  readonly hostname: string;
  readonly report: LoopReport;
  readonly log: Log;
}

/**
 * From the configuration, the identity file, or an enrollment under way; waits until there is one, undefined
 * when `signal` aborted. An enrollment that came to nothing is not asked for again: from then on a person is
 * waited for, and the note of its loop says why.
 */
export async function awaitIdentity(ports: AwaitPorts, signal: AbortSignal): Promise<Identity | undefined> {
  const { settings, api, apiUrl, hostname, report, log } = ports;
  // The Go agent keeps the token of an open enrollment without its expiry: a whole life at most.
  const expiry = isoOf(wallFrom(epochOf(wallNow()) + ENROLLMENT_LIFE));
  let over: { readonly token: string; readonly why: string } | undefined;
  for (; !signal.aborted; await sleep(seconds(2), signal)) {
    const pending = openEnrollment();
    try {
      const identity = knownIdentity(settings);
      if (identity !== undefined) {
        report.note("enrolled");
        return identity;
      }
      if (pending === undefined || pending.token === over?.token) {
        tell(`${over?.why ?? "not enrolled"}: run \`noderax-agent enroll\``);
      } else {
        tell("waiting for approval");
        await approval(pending);
      }
    } catch (error) {
      const decided = error instanceof AgentError && error.code.startsWith("enroll.");
      if (decided && pending !== undefined) over = { token: pending.token, why: error.message };
      else if (!hasCode(error, "aborted")) tell(messageOf(error));
    }
  }
  return undefined;

  function tell(note: string): void {
    if (note !== report.record.note) log.warn("enrollment", note);
    report.note(note);
  }

  async function approval(pending: PendingEnrollment): Promise<void> {
    // `enroll` may bring an identity, or begin another enrollment, while this one is waited for.
    const superseded = (): boolean =>
      knownIdentity(settings) !== undefined || openEnrollment()?.token !== pending.token;
    using scope = abortScope([signal]);
    const hooks = { onWait: () => superseded() && scope.abort(), superseded };
    const identity = await awaitApproval(api, pending, hooks, scope.signal);
    writeIdentity(settings.state_file, identity, new Date());
    clearPending(settings.state_file);
  }

  function openEnrollment(): PendingEnrollment | undefined {
    const pending = readPending(settings.state_file);
    if (pending?.api_url === apiUrl) return pending;
    const token = settings.enrollment_token;
    return token === undefined
      ? undefined
      : { api_url: apiUrl, email: "", hostname, token, expires_at: expiry };
  }
}
