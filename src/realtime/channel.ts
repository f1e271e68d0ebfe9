// What features use of the realtime session: emit an event and wait for its ack, hear what the server sends.
import type * as v from "valibot";

/** Implemented by `session.ts`. */
export interface Channel {
  /** True between the answer to `agent.auth` and the end of the socket. */
  online(): boolean;
  /** Resolves when the session is online, at once if it is; also when `signal` aborts. Never rejects. */
  whenOnline(signal: AbortSignal): Promise<void>;
  /** Hears of each time the session gets online, the first included. */
  onOnline(listener: () => void): void;
  /**
   * Sends one event on the live session and resolves with its ack. Throws an AgentError: `realtime.offline` when there
   * is no session or `realtime.too_large` for more than the server takes (nothing was sent), `realtime.lost` when the
   * socket went before the ack or `realtime.timeout` when no ack came in time (the server may have handled the event),
   * `realtime.answer` for an ack that is not what the contract says. An ack with `ok: false` is returned, not thrown.
   * Nothing is queued or repeated here.
   */
  request<Schema extends v.GenericSchema>(
    event: string,
    body: object,
    ack: Schema,
  ): Promise<v.InferOutput<Schema>>;
  /** Hears an event of the server, of this and every later socket. The body is whatever came: parse it. */
  on(event: string, listener: (body: unknown) => void): void;
}
