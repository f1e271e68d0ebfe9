// Refused tries, counted by address: slows down who guesses, and keeps the log to a line per address and minute.
import { type SteadyTime, steadyNow } from "../lib/clock.ts";
import { type Duration, minutes } from "../lib/duration.ts";
import { countingKey, parseIpAddress } from "../lib/address.ts";

export interface RefusedAttempt {
  /** Milliseconds since the epoch. */
  readonly at: SteadyTime;
  readonly address: string;
  readonly why: string;
}

export interface Attempts {
  /** How long who tries must wait; 0 for who may try on. `guesses` asks about wrong tokens alone. */
  blocked(address: string, guesses?: "guesses"): Duration;
  /** One more that was refused. */
  refused(address: string, why: string): void;
  /** Forgets what is over, and says what came after a line of the log. */
  sweep(): void;
  readonly count: () => number;
  readonly last: () => RefusedAttempt | undefined;
}

export interface AttemptsOptions {
  readonly now: () => SteadyTime;
  /** What to log: the first of an address at once, the rest of its minute as a number. */
  readonly audit: (text: string, fields: { address: string; tries: number }) => void;
}

const WINDOW = minutes(1);
const LIMIT = 10;
/** So many addresses are remembered, about a quarter of a megabyte; who came first is forgotten first. */
const ADDRESSES_MAX = 1_024;
/** Whoever has many addresses must not fill the log with them. */
const LINES_PER_WINDOW = 30;

interface Entry {
  readonly address: string;
  readonly since: SteadyTime;
  tries: number;
  guesses: number;
  /** Of the tries, those that a line of the log tells of. */
  told: number;
}

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
    audit(text, { address: entry.address, tries: entry.tries - entry.told });
    entry.told = entry.tries;
  }

  function forget(key: string, entry: Entry): void {
    entries.delete(key);
    if (entry.tries > entry.told) tell(entry, "refused again within a minute");
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
      const entry = entries.get(key) ?? { address, since: now(), tries: 0, guesses: 0, told: 0 };
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
