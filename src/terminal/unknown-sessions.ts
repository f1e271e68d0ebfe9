// Sessions the control plane knows and we do not: each is answered, though not with every keystroke.
import { seconds } from "../lib/duration.ts";
import { steadyNow } from "../lib/clock.ts";

const ANSWER_EVERY = seconds(5);
const KNOWN_MAX = 1_000;

export interface Strangers {
  /** True once in a while for each. */
  mayAnswer(sessionId: string): boolean;
}

export function createStrangers(now = steadyNow): Strangers {
  const answered = new Map<string, number>();
  return {
    mayAnswer(id) {
      const last = answered.get(id);
      if (last !== undefined && now() - last < ANSWER_EVERY) return false;
      // Put at the end, so that the first is the one that was quiet for longest.
      answered.delete(id);
      answered.set(id, now());
      const [oldest] = answered.keys();
      if (answered.size > KNOWN_MAX && oldest !== undefined) answered.delete(oldest);
      return true;
    },
  };
}
