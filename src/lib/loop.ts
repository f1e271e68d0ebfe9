// Runs periodic work: name, period with jitter, backoff after failures, abort. It alone writes the record of
// a loop, which `status`, `/readyz` and the watchdog read.
import { messageOf } from "./agent-error.ts";
import { type Backoff, type Random, backoff, jitter } from "./backoff.ts";
import { type SteadyTime, steadyNow } from "./clock.ts";
import { type Duration, milliseconds } from "./duration.ts";

/** What a loop last did. Only this file writes it. */
export interface LoopRecord {
  readonly name: string;
  readonly lastStart: SteadyTime | undefined;
  readonly lastSuccess: SteadyTime | undefined;
  readonly lastError: { readonly at: SteadyTime; readonly message: string } | undefined;
  readonly consecutiveFailures: number;
  /** When the next round is due; undefined while one runs. */
  readonly nextAt: SteadyTime | undefined;
  /** What the loop is doing or waiting for, in words for a person. */
  readonly note: string;
  /** Of `LoopOptions`. */
  readonly bounded: boolean;
}

/** What a round reports about itself while it runs. */
export interface LoopReport {
  readonly record: LoopRecord;
  note(text: string): void;
  /** Counts the round as a success before its end: for rounds that stay, such as listening on an address. */
  works(): void;
  /** Announces that the round itself waits until `due`; undefined: it works again. */
  waitsUntil(due: SteadyTime | undefined): void;
}

export interface LoopOptions {
  readonly name: string;
  /** Pause after a successful round, ± `spread` (default 0.1). A round may return another pause. */
  readonly every: Duration;
  readonly spread?: number;
  /** "now" starts with a round, "random" first waits a random part of the period (default: "now"). */
  readonly phase?: "now" | "random";
  /** Pauses after failed rounds: an entry of the table in control/retry.ts. */
  readonly retry: Backoff;
  readonly random?: Random;
  /** Called after every failed round, with the pause that `retry` gives; may return another one. */
  readonly onError?: (error: unknown, report: LoopReport, pause: Duration) => Duration | void;
  /**
   * Ends the pause after a failed round early, but never twice in a row: what works again for others may
   * still fail here.
   */
  readonly wake?: Wake | undefined;
  /** Called after a failed round: whether its pause may end early (default: yes). */
  readonly mayWake?: () => boolean;
  /**
   * A round waits for nothing but requests that have a deadline (default: false). One that takes minutes all the same
   * hangs: see the watchdog.
   */
  readonly bounded?: boolean;
}

/** Wakes loops that wait for the same server: the first that reaches it again calls it. */
export class Wake {
  readonly #also: () => void;
  #next = new AbortController();

  /** Every call also calls `also`. */
  constructor(also: () => void = () => {}) {
    this.#also = also;
  }

  /** Aborts on the next call. */
  get signal(): AbortSignal {
    return this.#next.signal;
  }

  call(): void {
    const now = this.#next;
    this.#next = new AbortController();
    now.abort();
    this.#also();
  }
}

/**
 * A loop that was woken starts within this time, so that the requests of an agent do not all leave at once.
 */
const WAKE_SPREAD = milliseconds(500);

/** Does one round. May return the pause before the next one; throws to make the loop back off. */
export type Round = (signal: AbortSignal, report: LoopReport) => Promise<Duration | void>;

type MutableRecord = { -readonly [Key in keyof LoopRecord]: LoopRecord[Key] };

/** Records of loops by name, in the order of their start. */
export class LoopRegistry {
  readonly #records = new Map<string, MutableRecord>();

  /**
   * Adds a loop that does not run in `loop` because it ends; it reports for itself. Replaces an earlier one
   * of that name.
   */
  register(name: string): LoopReport {
    const record = this.add(name);
    return reportOf(record);
  }

  /** Adds a record for `loop`, which keeps it up to date. */
  add(name: string, bounded = false): MutableRecord {
    const record: MutableRecord = {
      name,
      lastStart: undefined,
      lastSuccess: undefined,
      lastError: undefined,
      consecutiveFailures: 0,
      nextAt: undefined,
      note: "",
      bounded,
    };
    this.#records.set(name, record);
    return record;
  }

  all(): readonly LoopRecord[] {
    return [...this.#records.values()];
  }
}

const reportOf = (record: MutableRecord): LoopReport => ({
  record,
  note: (text) => void (record.note = text),
  works() {
    record.lastSuccess = steadyNow();
    record.consecutiveFailures = 0;
  },
  waitsUntil: (due) => void (record.nextAt = due),
});

/**
 * Runs rounds until `signal` aborts, then resolves. Never rejects: errors are recorded, and the loop
 * continues.
 */
export async function loop(
  options: LoopOptions,
  round: Round,
  registry: LoopRegistry,
  signal: AbortSignal,
): Promise<void> {
  const { every, spread = 0.1, retry, random = Math.random } = options;
  const record = registry.add(options.name, options.bounded);
  const report = reportOf(record);
  if (options.phase === "random") await rest(every * random(), record, signal);
  let cut = false;
  while (!signal.aborted) {
    // Taken before the round: the call may come while the round still fails.
    const called = options.wake?.signal;
    const pause = await runRound();
    if (record.consecutiveFailures < 2) cut = false;
    const mayCut: boolean = record.consecutiveFailures > 0 && !cut && options.mayWake?.() !== false;
    await rest(pause, record, signal, mayCut ? called : undefined);
    cut = mayCut && called?.aborted === true;
    if (cut) await rest(WAKE_SPREAD * random(), record, signal);
  }
  record.note = "stopped";

  async function runRound(): Promise<Duration> {
    record.lastStart = steadyNow();
    try {
      const asked = await round(signal, report);
      report.works();
      return asked ?? jitter(every, spread, random);
    } catch (error) {
      if (signal.aborted) return 0;
      record.lastError = { at: steadyNow(), message: messageOf(error) };
      record.consecutiveFailures++;
      const pause = backoff(retry, record.consecutiveFailures, random);
      return options.onError?.(error, report, pause) ?? pause;
    }
  }
}

async function rest(
  pause: Duration,
  record: MutableRecord,
  ...signals: readonly (AbortSignal | undefined)[]
): Promise<void> {
  record.nextAt = steadyNow() + pause;
  await sleep(pause, ...signals);
  record.nextAt = undefined;
}

/** The longest time a timer can wait, 24 days; with more it would fire at once. */
const TIMER_MAX = milliseconds(2 ** 31 - 1);

/** Resolves after `pause`, or at once when one of `signals` aborts. Never rejects. */
export function sleep(pause: Duration, ...signals: readonly (AbortSignal | undefined)[]): Promise<void> {
  if (signals.some((signal) => signal?.aborted === true)) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      for (const signal of signals) signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, Math.min(pause, TIMER_MAX));
    for (const signal of signals) signal?.addEventListener("abort", done, { once: true });
  });
}
