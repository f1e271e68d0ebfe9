// Faults that can be switched on, on agent routes only: slow, failing, deaf, and cut connections.
import { type Duration, milliseconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";

export interface Faults {
  /** Wait this long before a request is handled. */
  delay: Duration;
  /** Share of requests (0 … 1) that are answered with 500 and not processed. */
  errorRate: number;
  /** Share of requests that are processed, and whose connection is then cut without an answer. */
  lostAnswers: number;
  /** After this many more requests every connection is cut unprocessed; null is off. */
  dropAfter: number | null;
  /** The API lost its database: 401 on task routes, 500 elsewhere. */
  databaseDown: boolean;
  /** Only these routes ("claim", "logs", …) suffer the faults above, databaseDown excepted; null is all of them. */
  routes: readonly string[] | null;
  /** Makes the dice repeatable. */
  seed: number | null;
}

export const NO_FAULTS: Readonly<Faults> = {
  delay: milliseconds(0),
  errorRate: 0,
  lostAnswers: 0,
  dropAfter: null,
  databaseDown: false,
  routes: null,
  seed: null,
};

/** What to do with one request. "lose" processes it and then cuts the connection. */
export type Verdict = "serve" | "fail" | "lose" | "drop";

export class FaultInjector {
  #faults: Faults = { ...NO_FAULTS };
  #random: () => number = Math.random;
  #beforeDrop = Infinity;

  get faults(): Readonly<Faults> {
    return this.#faults;
  }

  /** Changes what is given and leaves the rest; a `dropAfter` or `seed` that is given starts anew. */
  set(change: Partial<Faults>): void {
    this.#faults = { ...this.#faults, ...change };
    if (change.seed !== undefined)
      this.#random = change.seed === null ? Math.random : mulberry32(change.seed);
    if (change.dropAfter !== undefined) this.#beforeDrop = change.dropAfter ?? Infinity;
  }

  /** Decides on one request, after the delay that is set. */
  async judge(route: string, signal: AbortSignal): Promise<Verdict> {
    const { delay, errorRate, lostAnswers, routes } = this.#faults;
    if (routes !== null && !routes.includes(route)) return "serve";
    if (delay > 0) await sleep(delay, signal);
    if (this.#beforeDrop <= 0) return "drop";
    this.#beforeDrop--;
    if (this.#random() < errorRate) return "fail";
    return this.#random() < lostAnswers ? "lose" : "serve";
  }
}

/** A small generator with a seed; good enough for dice, useless for secrets. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
