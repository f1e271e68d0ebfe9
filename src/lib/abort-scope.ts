// Abort signals that leave nothing behind, for what happens once a request or more often.
//
// An AbortSignal takes half a kilobyte outside of the collector's heap, which does not count it: tens of megabytes of them
// pile up before a collection. `AbortSignal.timeout` also stays alive until its time is over, and `AbortSignal.any` is
// remembered by its sources. A scope is one signal, and after its disposal neither a timer nor another signal holds it.
import type { Duration } from "./duration.ts";

/** Aborts once: by `abort`, with the first of its sources, or when its time is over. */
export interface AbortScope extends Disposable {
  readonly signal: AbortSignal;
  /** `reason`: an AbortError unless given. */
  abort(reason?: unknown): void;
}

/** Shared: each one of its own would keep a stack. */
const ABORTED = new DOMException("The operation was aborted.", "AbortError");

/** The longest a timer can wait, 24 days. */
const TIMER_MAX = 2 ** 31 - 1;

/** After `limit` the reason is a TimeoutError, as with `AbortSignal.timeout`. */
export function abortScope(sources: readonly AbortSignal[], limit: Duration = Infinity): AbortScope {
  const controller = new AbortController();
  const timer =
    limit === Infinity
      ? undefined
      : setTimeout(
          () => abort(new DOMException("The operation timed out.", "TimeoutError")),
          Math.min(limit, TIMER_MAX),
        );
  const follow = (): void => abort(sources.find(({ aborted }) => aborted)?.reason);

  function release(): void {
    clearTimeout(timer);
    for (const source of sources) source.removeEventListener("abort", follow);
  }
  function abort(reason: unknown = ABORTED): void {
    release();
    controller.abort(reason);
  }

  for (const source of sources) source.addEventListener("abort", follow, { once: true });
  if (sources.some(({ aborted }) => aborted)) follow();
  return { signal: controller.signal, abort, [Symbol.dispose]: release };
}
