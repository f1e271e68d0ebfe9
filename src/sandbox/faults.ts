// Faults of the servers towards agents, off by default: delays, errors, lost answers, cut connections.
//
// They apply to HTTP routes (those of the Caravanserai server are called "cara.heartbeat", "cara.projects" …) and to the
// events of the realtime session, with names like "realtime.auth" and "realtime.terminal.output". A lost answer of an event
// is an ack that is never sent.
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
   * The servers are stopped, as by SIGSTOP: requests are neither handled nor answered until this is switched off, and then
   * in any order, also those that the agent has given up meanwhile.
   */
  freeze: boolean;
  /** Both servers lost their database: 401 on task routes, 500 elsewhere, the driver's text on the realtime session. */
  databaseDown: boolean;
  /** Only these routes ("claim", "logs", …) have the faults above, databaseDown excepted; null is all of them. */
  routes: readonly string[] | null;
  /** Seed of the random decisions, to repeat them. */
  seed: number | null;
  /** Websockets are refused with 403, as some proxies do, while HTTP works. */
  websocketBlocked: boolean;
  /** Not a fault: pushes queued tasks over the socket, which is off by default in the original, too. */
  taskDispatch: boolean;
  /** Not a fault: takes the location of a node in `agent.auth`, as some versions of the original do. */
  acceptLocation: boolean;
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
  acceptLocation: false,
};

/** Time in which a server handles its queue after a freeze: 5 ms a call in the original, some hundred calls. */
const THAW = seconds(1);

/** The decision for one request. "lose" processes it and then cuts the connection. */
export type FaultDecision = "serve" | "fail" | "lose" | "drop";

export class FaultInjector {
  #faults: Faults = { ...NO_FAULTS };
  #random: () => number = Math.random;
  /** Separate random numbers: pings at any time must not change the sequence for HTTP requests. */
  #eventRandom: () => number = Math.random;
  #beforeDrop = Infinity;
  #thaw = new AbortController();

  get faults(): Readonly<Faults> {
    return this.#faults;
  }

  /** Changes the given faults only; a given `dropAfter` or `seed` starts again. */
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

  /** Waits while the servers are frozen, and then a random part of the time to handle the queue. */
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

/** Returns a seeded random generator; not for secrets. */
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
