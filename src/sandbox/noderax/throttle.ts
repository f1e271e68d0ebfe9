// Counts requests per address and route, in memory, as the API does: 100 a minute, then a minute of 429.
import { steadyNow } from "../../lib/clock.ts";
import { ApiError } from "../http/api-error.ts";
import type { Timings } from "../timings.ts";

interface Window {
  hits: number;
  endsAt: number;
  blockedUntil: number;
}

export class Throttle {
  readonly #windows = new Map<string, Window>();
  readonly #timings: Pick<Timings, "throttleWindow" | "throttleLimit">;

  constructor(timings: Pick<Timings, "throttleWindow" | "throttleLimit">) {
    this.#timings = timings;
  }

  /** Counts one request and returns the headers of its answer; throws 429 above the limit. */
  count(address: string, route: string): Record<string, string> {
    const { throttleWindow, throttleLimit } = this.#timings;
    const now = steadyNow();
    const window = this.#window(`${address} ${route}`, now);
    if (window.blockedUntil <= now && ++window.hits > throttleLimit) {
      window.blockedUntil = now + throttleWindow;
      window.endsAt = window.blockedUntil;
    }
    if (window.blockedUntil > now) {
      throw new ApiError(429, "ThrottlerException: Too Many Requests", undefined, {
        "Retry-After": wholeSeconds(window.blockedUntil - now),
      });
    }
    return {
      "X-RateLimit-Limit": String(throttleLimit),
      "X-RateLimit-Remaining": String(throttleLimit - window.hits),
      "X-RateLimit-Reset": wholeSeconds(window.endsAt - now),
    };
  }

  #window(key: string, now: number): Window {
    const current = this.#windows.get(key);
    if (current && current.endsAt > now) return current;
    const fresh = { hits: 0, endsAt: now + this.#timings.throttleWindow, blockedUntil: 0 };
    this.#windows.set(key, fresh);
    return fresh;
  }
}

const wholeSeconds = (span: number): string => String(Math.ceil(span / 1_000));
