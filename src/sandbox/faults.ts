// Faults that can be switched on, on the agents' side only: slow, failing, deaf, and cut connections.
//
// They hold for HTTP routes — those of the Caravanserai server are called "cara.heartbeat", "cara.projects" … — and for the events of the realtime session, which go by names like "realtime.auth" and
// "realtime.terminal.output". There, an answer that is lost is an ack that never comes.
import { type Duration, milliseconds, seconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";

export interface Faults {
  /** Wait this long before a request is handled. */
  delay: Duration;
  /** Share of requests (0 … 1) that are answered with 500 and not processed. */
  errorRate: number;
  /**
   * Share of requests that are processed, and whose connection is then cut without an answer. Realtime events are
   * processed without an ack, and the socket stays.
   */
  lostAnswers: number;
  /** After this many more HTTP requests every connection is cut unprocessed, sockets too; null is off. */
  dropAfter: number | null;
  /**
   * The servers stand still, as under SIGSTOP: what comes is neither handled nor answered until this is switched off, and
   * then all of it in any order, also what the agent has given up meanwhile.
   */
  freeze: boolean;
  /** Both servers lost their database: 401 on task routes, 500 elsewhere, the driver's text on the realtime session. */
  databaseDown: boolean;
  /** Only these routes ("claim", "logs", …) suffer the faults above, databaseDown excepted; null is all of them. */
  routes: readonly string[] | null;
  /** Makes the dice repeatable. */
  seed: number | null;
  /** Websockets are refused with 403, as some proxies do, while HTTP works. */
  websocketBlocked: boolean;
  /** No fault, but off by default in the original too: queued tasks are pushed over the socket. */
  taskDispatch: boolean;
}

export const NO_FAULTS: Readonly<Faults> = {
  delay: milliseconds(0),
  errorRate: 0,
  lostAnswers: 0,
  dropAfter: null,
  freeze: false,
  databaseDown: false,
  routes: null,
  seed: null,
  websocketBlocked: false,
  taskDispatch: false,
};

/** The real server takes 5 ms a call: some hundred that have queued up are worked off within this. */
const THAW = seconds(1);

/** What to do with one request. "lose" processes it and then cuts the connection. */
export type FaultDecision = "serve" | "fail" | "lose" | "drop";

export class FaultInjector {
  #faults: Faults = { ...NO_FAULTS };
  #random: () => number = Math.random;
  /** Dice of their own: pings that come when they like must not disturb the sequence of the HTTP requests. */
  #eventRandom: () => number = Math.random;
  #beforeDrop = Infinity;
  #thaw = new AbortController();

  get faults(): Readonly<Faults> {
    return this.#faults;
  }

  /** Changes what is given and leaves the rest; a `dropAfter` or `seed` that is given starts anew. */
  set(change: Partial<Faults>): void {
    this.#faults = { ...this.#faults, ...change };
    if (change.seed !== undefined) {
      this.#random = change.seed === null ? Math.random : mulberry32(change.seed);
      this.#eventRandom = change.seed === null ? Math.random : mulberry32(change.seed);
    }
    if (change.dropAfter !== undefined) this.#beforeDrop = change.dropAfter ?? Infinity;
    if (change.freeze !== false) return;
    this.#thaw.abort();
    this.#thaw = new AbortController();
  }

  /** Waits while the servers are frozen, and then a random part of what one takes to work off its queue. */
  async #frozen(signal: AbortSignal): Promise<void> {
    if (!this.#faults.freeze) return;
    await sleep(Infinity, signal, this.#thaw.signal);
    await sleep(THAW * Math.random(), signal);
  }

  /** Decides on one request, after the delay that is set. */
  async judge(route: string, signal: AbortSignal): Promise<FaultDecision> {
    const { delay, errorRate, lostAnswers, routes } = this.#faults;
    if (routes !== null && !routes.includes(route)) return "serve";
    if (delay > 0) await sleep(delay, signal);
    await this.#frozen(signal);
    if (this.#beforeDrop <= 0) return "drop";
    this.#beforeDrop--;
    if (this.#random() < errorRate) return "fail";
    return this.#random() < lostAnswers ? "lose" : "serve";
  }

  /** Decides on one realtime event, after the delay that is set. It does not count for `dropAfter`. */
  async judgeEvent(route: string, signal: AbortSignal): Promise<FaultDecision> {
    const { delay, errorRate, lostAnswers, routes } = this.#faults;
    if (routes !== null && !routes.includes(route)) return "serve";
    if (delay > 0) await sleep(delay, signal);
    await this.#frozen(signal);
    if (this.dropping) return "drop";
    if (this.#eventRandom() < errorRate) return "fail";
    return this.#eventRandom() < lostAnswers ? "lose" : "serve";
  }

  /** `dropAfter` is used up. */
  get dropping(): boolean {
    return this.#beforeDrop <= 0;
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
