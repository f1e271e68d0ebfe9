// Limits the time of a call to Docker: on a Unix socket nothing else tells a frozen daemon from a slow one.
import { AgentError, exit } from "../../lib/agent-error.ts";
import { type Duration, formatDuration } from "../../lib/duration.ts";

export interface Watch extends Disposable {
  /** Aborts when the time is over, when the caller aborts, and when the watch is disposed. */
  readonly signal: AbortSignal;
  /** Restarts the time. */
  touch(): void;
  /** Stops the time: no limit from here on. */
  lift(): void;
  /** Settles as `work` does, or rejects at once when the time is over or the caller aborts: a library may never settle. */
  race<T>(work: Promise<T>): Promise<T>;
}

/** `late` makes the error that is thrown when the time is over; `waited` is `limit` as text. An abort throws `aborted`. */
export function watch(limit: Duration, late: (waited: string) => AgentError, signal: AbortSignal): Watch {
  const controller = new AbortController();
  const { promise: failure, reject } = Promise.withResolvers<never>();
  failure.catch(() => {});
  const fail = (error: AgentError): void => {
    reject(error);
    controller.abort(error);
  };
  const onTimeout = (): void => fail(late(formatDuration(limit)));
  const onAbort = (): void => fail(interrupted());
  let timer = setTimeout(onTimeout, limit);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  return {
    signal: controller.signal,
    touch() {
      clearTimeout(timer);
      timer = setTimeout(onTimeout, limit);
    },
    lift: () => clearTimeout(timer),
    race: (work) => Promise.race([work, failure]),
    [Symbol.dispose]() {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      controller.abort();
    },
  };
}

const interrupted = (): AgentError => new AgentError("aborted", "interrupted", { exit: exit.interrupted });
