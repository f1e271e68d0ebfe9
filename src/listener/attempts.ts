// Counts refused requests by address: limits guessing, and the log to a line per address and minute.
import { type SteadyTime, steadyNow } from "../lib/clock.ts";
import { type Duration, minutes } from "../lib/duration.ts";
import { countingKey, parseIpAddress } from "../lib/address.ts";

export interface RefusedAttempt {
  /** On the steady clock. */
  readonly at: SteadyTime;
  readonly address: string;
  readonly why: string;
}

export interface Attempts {
  /** Returns how long an address must wait (ms), 0 if it may try now. `guesses` counts wrong tokens only. */
  blocked(address: string, guesses?: "guesses"): Duration;
  /** Records a refused request. */
  refused(address: string, why: string): void;
  /** Forgets addresses whose minute is over, and logs how often they were refused after their first line. */
  sweep(): void;
  readonly count: () => number;
  readonly last: () => RefusedAttempt | undefined;
}

export interface AttemptsOptions {
  readonly now: () => SteadyTime;
  /** Called with what to log: the first refusal of an address at once, the rest of its minute as a number. */
  readonly audit: (text: string, fields: { address: string; tries: number }) => void;
}

const WINDOW = minutes(1);
const LIMIT = 10;
/** Addresses remembered, about 256 KB; the oldest is forgotten first. */
const ADDRESSES_MAX = 1_024;
/** Log lines per minute for all addresses together: an attacker may have many. */
const LINES_PER_WINDOW = 30;

interface Entry {
  readonly address: string;
  readonly since: SteadyTime;
  tries: number;
  guesses: number;
  /** How many of the tries are in the log already. */
  logged: number;
}

/** Ten refusals within a minute block an address until the minute is over. */
export function createAttempts({ now, audit }: AttemptsOptions): Attempts {
  const entries = new Map<string, Entry>();
  let count = 0;
  let last: RefusedAttempt | undefined;
  let lines = { since: now(), written: 0 };

  const keyOf = (address: string): string => {
    const parsed = parseIpAddress(address);
    return parsed === undefined ? "?" : countingKey(parsed);
  };
  const isOver = ({ since }: { readonly since: SteadyTime }): boolean => now() - since >= WINDOW;

  function tell(entry: Entry, text: string): void {
    if (isOver(lines)) lines = { since: now(), written: 0 };
    if (lines.written >= LINES_PER_WINDOW) return;
    lines.written++;
    audit(text, { address: entry.address, tries: entry.tries - entry.logged });
    entry.logged = entry.tries;
  }

  function forget(key: string, entry: Entry): void {
    entries.delete(key);
    if (entry.tries > entry.logged) tell(entry, "refused again within a minute");
  }

  return {
    blocked(address, guesses) {
      const entry = entries.get(keyOf(address));
      if (entry === undefined || isOver(entry)) return 0;
      const tries = guesses === undefined ? entry.tries : entry.guesses;
      return tries < LIMIT ? 0 : entry.since + WINDOW - now();
    },
    refused(address, why) {
      count++;
      last = { at: steadyNow(), address, why };
      const key = keyOf(address);
      const known = entries.get(key);
      if (known !== undefined && isOver(known)) forget(key, known);
      const entry = entries.get(key) ?? { address, since: now(), tries: 0, guesses: 0, logged: 0 };
      entries.set(key, entry);
      entry.tries++;
      if (why === "token") entry.guesses++;
      if (entry.tries === 1) tell(entry, `refused: ${why}`);
      const [eldest] = entries;
      if (entries.size > ADDRESSES_MAX && eldest !== undefined) forget(...eldest);
    },
    sweep() {
      for (const [key, entry] of entries) if (isOver(entry)) forget(key, entry);
    },
    count: () => count,
    last: () => last,
  };
}
