// An event about a terminal, sent until the control plane has answered it.
import type * as v from "valibot";
import { orAborted } from "../lib/until.ts";
import { messageOf, hasCode } from "../lib/agent-error.ts";
import { backoff } from "../lib/backoff.ts";
import { sleep } from "../lib/loop.ts";
import { retry } from "../control/retry.ts";
import type { Ack } from "../protocol/noderax/realtime.ts";
import type { Channel } from "../realtime/channel.ts";

/** An answer that is none of the contract's may pass; after so many it will not. */
const STRANGE_ANSWERS_MAX = 4;
const UNKNOWN = /was not found/;
/** A refusal in these words stands. Every other one is the text of what failed over there, such as its database. */
const LASTING = new RegExp(`${UNKNOWN.source}|^Bad Request`);

export interface Delivery<Answer> {
  readonly event: string;
  readonly body: object;
  readonly answer: v.GenericSchema<unknown, Answer>;
}

/**
 * Resolves with the ack — `ok: false` for a refusal that stands, and for answers that make no sense — or with undefined
 * when `signal` aborted. Where the ack was lost, or tells of what may pass, the event is sent again: it may arrive
 * twice, it is never lost.
 */
export async function deliver<Answer extends Ack>(
  channel: Channel,
  { event, body, answer }: Delivery<Answer>,
  signal: AbortSignal,
): Promise<Answer | { ok: false; message: string } | undefined> {
  for (let failures = 0, refusals = 0, strange = 0; ; failures++) {
    // The first repetition waits for nothing but the session.
    if (failures > 1) await sleep(backoff(retry.terminalEvent, failures - 1, Math.random), signal);
    await channel.whenOnline(signal);
    if (signal.aborted) return undefined;
    try {
      const said = await orAborted(channel.request(event, body, answer), signal);
      if (
        said === undefined ||
        said.ok ||
        LASTING.test(said.message ?? "") ||
        ++refusals >= retry.terminalEvent.tries
      )
        return said;
    } catch (error) {
      if (hasCode(error, "realtime.answer") && ++strange >= STRANGE_ANSWERS_MAX)
        return { ok: false, message: messageOf(error) };
    }
  }
}

/** The control plane has no such terminal: there is nobody to tell of its end. */
export const isUnknown = ({ ok, message }: Ack): boolean => !ok && UNKNOWN.test(message ?? "");
