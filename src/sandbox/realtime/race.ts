// Reorders frames: those that wait at the same time are released in random order.
import { type Duration, milliseconds } from "../../lib/duration.ts";

/** Returns a function that waits up to `window()`; 0 disables both wait and reordering. */
export function race(window: () => Duration): () => Promise<void> {
  let waiting: (() => void)[] = [];
  const release = (): void => {
    const released = waiting;
    waiting = [];
    for (const go of shuffled(released)) go();
  };
  return () => {
    const longest = window();
    if (longest <= 0) return Promise.resolve();
    return new Promise((resolve) => {
      if (waiting.push(resolve) === 1) setTimeout(release, milliseconds(1 + Math.random() * (longest - 1)));
    });
  };
}

function shuffled<T>(items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}
