// Limits the answers to events of sessions that this agent does not have: one each 5 s, not one a keystroke.
import { seconds } from "../lib/duration.ts";
import { steadyNow } from "../lib/clock.ts";

const ANSWER_EVERY = seconds(5);
const REMEMBERED_MAX = 1_000;

export interface UnknownSessions {
  /** True when the last answer for this session is at least 5 s old; counts as an answer then. */
  mayAnswer(sessionId: string): boolean;
}

export function createUnknownSessions(now = steadyNow): UnknownSessions {
  const answered = new Map<string, number>();
  return {
    mayAnswer(id) {
      const last = answered.get(id);
      if (last !== undefined && now() - last < ANSWER_EVERY) return false;
      // Insert at the end: the first entry is then the one answered longest ago.
      answered.delete(id);
      answered.set(id, now());
      const [oldest] = answered.keys();
      if (answered.size > REMEMBERED_MAX && oldest !== undefined) answered.delete(oldest);
      return true;
    },
  };
}
