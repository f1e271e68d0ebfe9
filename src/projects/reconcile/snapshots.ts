// Looks at Docker, shared: whoever asks while one is waited for gets that one, and a storm of events makes few of them.
import { type Duration, milliseconds } from "../../lib/duration.ts";
import { sleep } from "../../lib/loop.ts";
import { steadyNow } from "../../lib/clock.ts";
import type { Engine, Look } from "../plan/engine.ts";

/** Five looks a second on average; so many at once, since a project comes up in as many rounds and events come on top. */
const PACE: Duration = milliseconds(200);
const BURST = 8;

export interface Looks {
  /** A look that began after this call. Rejects as `Engine.look` does. */
  fresh(): Promise<Look>;
  /** The newest there is; undefined before the first. */
  latest(): Look | undefined;
}

export interface LooksPorts {
  readonly engine: Pick<Engine, "look">;
  /** Keeps of a look what is ours: see ownership.ts. Default: all that carries our labels. */
  readonly own?: (look: Look) => Look;
  readonly pace?: Duration;
  /** After each one that succeeded. */
  readonly onLook?: (look: Look) => void;
}

export function createLooks(
  { engine, own = (look) => look, pace = PACE, onLook }: LooksPorts,
  signal: AbortSignal,
): Looks {
  let latest: Look | undefined;
  let running: Promise<unknown> | undefined;
  let next: Promise<Look> | undefined;
  let begun: number[] = [];

  async function begin(): Promise<Look> {
    await running?.catch(() => {});
    const wait = (begun.at(-BURST) ?? -Infinity) + BURST * pace - steadyNow();
    if (wait > 0) await sleep(wait, signal);
    signal.throwIfAborted();
    // From here on a caller needs another look than this one.
    begun = [...begun, steadyNow()].slice(-BURST);
    const look = engine.look(signal);
    running = look;
    next = undefined;
    latest = own(await look);
    onLook?.(latest);
    return latest;
  }

  return {
    latest: () => latest,
    fresh() {
      if (next !== undefined) return next;
      const look = begin().finally(() => {
        if (next === look) next = undefined;
      });
      next = look;
      return look;
    },
  };
}
