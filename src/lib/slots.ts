// Limits how many things run at the same time, first come first served.

export interface Slots {
  readonly size: number;
  /** Number of slots in use. */
  inUse(): number;
  /** Number of callers that wait for a slot. */
  waiting(): number;
  /** Takes a slot even beyond the limit, for work that already runs. Returns the function that frees it. */
  occupy(): () => void;
  /** Resolves with the function that frees the slot, or with undefined when `signal` aborted first. */
  take(signal: AbortSignal): Promise<(() => void) | undefined>;
}

/** Creates a limit of `size` holders at a time; those who wait get a slot in their order. */
export function createSlots(size: number): Slots {
  let used = 0;
  const queue: (() => void)[] = [];

  function release(): void {
    const next = used <= size ? queue.shift() : undefined;
    if (next === undefined) used--;
    else next();
  }
  const once = (): (() => void) => {
    let done = false;
    return () => {
      if (!done) release();
      done = true;
    };
  };

  return {
    size,
    inUse: () => used,
    waiting: () => queue.length,
    occupy() {
      used++;
      return once();
    },
    take(signal) {
      if (signal.aborted) return Promise.resolve(undefined);
      if (used < size) {
        used++;
        return Promise.resolve(once());
      }
      return new Promise((resolve) => {
        const enter = (): void => {
          signal.removeEventListener("abort", leave);
          resolve(once());
        };
        const leave = (): void => {
          queue.splice(queue.indexOf(enter), 1);
          resolve(undefined);
        };
        queue.push(enter);
        signal.addEventListener("abort", leave, { once: true });
      });
    },
  };
}
