// The part of the realtime session that features use: send an event and wait for its ack, receive the server's events.
import type * as v from "valibot";

/** Implemented by `session.ts`. */
export interface Channel {
  /** True between the answer to `agent.auth` and the end of the socket. */
  online(): boolean;
  /** Resolves when the session is online, at once if it is; also when `signal` aborts. Never rejects. */
  whenOnline(signal: AbortSignal): Promise<void>;
  /** Calls the listener each time the session gets online, the first time included. */
  onOnline(listener: () => void): void;
  /**
   * Sends one event on the open session and resolves with its ack. Throws an AgentError: `realtime.offline` when there
   * is no session or `realtime.too_large` for more than the server takes (nothing was sent), `realtime.lost` when the
   * socket ended before the ack or `realtime.timeout` when no ack came in time (the server may have handled the event),
   * `realtime.answer` for an ack that is not what the contract says. An ack with `ok: false` is returned, not thrown.
   * Nothing is queued or repeated here.
   */
  request<Schema extends v.GenericSchema>(
    event: string,
    body: object,
    ack: Schema,
  ): Promise<v.InferOutput<Schema>>;
  /** Calls the listener for an event of the server, on this and every later socket. The body is not parsed yet. */
  on(event: string, listener: (body: unknown) => void): void;
}
