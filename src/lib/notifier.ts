// A condition that many can wait for, without a signal of its own for each wait.
import type { Duration } from "./duration.ts";

export class Notifier {
  readonly #waiting = new Set<() => void>();

  /** Wakes all that wait now. */
  notify(): void {
    for (const wake of this.#waiting) wake();
  }

  /** Resolves with the next `notify`, after `limit`, or when `signal` aborts. Never rejects. */
  wait(limit: Duration, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      const timer = setTimeout(wake, limit);
      this.#waiting.add(wake);
      signal.addEventListener("abort", wake, { once: true });
    });
  }
}
