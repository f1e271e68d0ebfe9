// Sends an event about a terminal until the control plane has answered it.
import type * as v from "valibot";
import { orAborted } from "../lib/until.ts";
import { messageOf, hasCode } from "../lib/agent-error.ts";
import { backoff } from "../lib/backoff.ts";
import { sleep } from "../lib/loop.ts";
import { retry } from "../control/retry.ts";
import type { Ack } from "../protocol/noderax/realtime.ts";
import type { Channel } from "../realtime/channel.ts";

/** Answers that break the contract before the event is given up: a few may be temporary. */
const INVALID_ANSWERS_MAX = 4;
const UNKNOWN = /was not found/;
/** Texts of final refusals. Any other text comes from a failure inside the control plane, such as its database. */
const FINAL = new RegExp(`${UNKNOWN.source}|^Bad Request`);

export interface Delivery<Answer> {
  readonly event: string;
  readonly body: object;
  readonly answer: v.GenericSchema<unknown, Answer>;
}

/**
 * Resolves with the ack, `ok: false` for a final refusal and after invalid answers; with undefined when `signal` aborted.
 * Sends the event again when the ack was lost or reports a temporary failure: it may arrive twice, it is never lost.
 */
export async function deliver<Answer extends Ack>(
  channel: Channel,
  { event, body, answer }: Delivery<Answer>,
  signal: AbortSignal,
): Promise<Answer | { ok: false; message: string } | undefined> {
  for (let failures = 0, refusals = 0, strange = 0; ; failures++) {
    // The first repetition waits for the session only.
    if (failures > 1) await sleep(backoff(retry.terminalEvent, failures - 1, Math.random), signal);
    await channel.whenOnline(signal);
    if (signal.aborted) return undefined;
    try {
      const ack = await orAborted(channel.request(event, body, answer), signal);
      if (
        ack === undefined ||
        ack.ok ||
        FINAL.test(ack.message ?? "") ||
        ++refusals >= retry.terminalEvent.tries
      )
        return ack;
    } catch (error) {
      if (hasCode(error, "realtime.answer") && ++strange >= INVALID_ANSWERS_MAX)
        return { ok: false, message: messageOf(error) };
    }
  }
}

/** Whether the ack says that the control plane has no such session: its end need not be reported. */
export const isUnknown = ({ ok, message }: Ack): boolean => !ok && UNKNOWN.test(message ?? "");
