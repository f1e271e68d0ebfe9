// Waits that end early: when a signal aborts, or when a time is over. None leaves a timer or a listener behind.
import type { Duration } from "./duration.ts";

/** Resolves when `signal` aborts. Never rejects. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

/** Resolves with the result of `work`, or with undefined as soon as `signal` aborts. Rejects as `work` does before that. */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  const end = Promise.withResolvers<undefined>();
  const abort = (): void => end.resolve(undefined);
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  try {
    return await Promise.race([work, end.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** Resolves with the result of `work`, or with undefined after `limit`. Rejects as `work` does before that. */
export async function within<T>(work: Promise<T>, limit: Duration): Promise<T | undefined> {
  const end = Promise.withResolvers<undefined>();
  const timer = setTimeout(end.resolve, limit);
  try {
    return await Promise.race([work, end.promise]);
  } finally {
    clearTimeout(timer);
  }
}
