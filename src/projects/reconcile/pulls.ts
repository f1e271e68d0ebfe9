// Pulls images in the background: one pull per image, a few at a time, each image with its own backoff.
import { type ErrorCode } from "../../lib/error-codes.ts";
import { AgentError } from "../../lib/agent-error.ts";
import { type Duration, hours, humanDuration } from "../../lib/duration.ts";
import { createSlots } from "../../lib/slots.ts";
import type { Log } from "../../platform/log.ts";
import { type SteadyTime, steadyNow } from "../../lib/clock.ts";
import type { Engine } from "../plan/engine.ts";
import { type PullState, fullReference } from "../plan/images.ts";
import { pullFailed, pullInterrupted } from "../plan/pull-retry.ts";
import type { PullMemory } from "./pull-memory.ts";

export interface Pulls {
  /** By full reference, as `fullReference` makes it. */
  states(): ReadonlyMap<string, PullState>;
  /** Starts a pull unless one is running or the last failure is not due again. Never throws, never waits. */
  request(image: string): void;
  /** Calls `listener` when a pull started, succeeded or failed; not for progress. */
  subscribe(listener: () => void): void;
  /** Aborts all pulls; resolves when none is running. */
  close(): Promise<void>;
}

export interface PullsOptions {
  readonly engine: Pick<Engine, "pull">;
  /** Most pulls at the same time. */
  readonly parallel: number;
  /** A pull without progress for so long is aborted. */
  readonly idle: Duration;
  readonly log: Log;
  /** Stores failures across restarts of the agent; without it, none are stored. */
  readonly memory?: PullMemory;
  /** The steady clock, outside tests. */
  readonly now?: () => SteadyTime;
}

/** An image that was not requested for so long is dropped, and beyond this number the ones requested longest ago. */
const FORGET_AFTER: Duration = hours(1);
const ENTRIES_MAX = 1_000;

/** Errors about the daemon, not about the image: not a failed attempt, but tried again with a pause of its own. */
const NOT_ABOUT_THE_IMAGE: ReadonlySet<ErrorCode> = new Set([
  "docker.away",
  "docker.forbidden",
  "docker.version",
  "aborted",
]);

/** Creates the shared pulls: one for each image, at most `parallel` at a time. */
export function createPulls(options: PullsOptions): Pulls {
  const { engine, parallel, idle, log, memory, now = steadyNow } = options;
  const listeners: (() => void)[] = [];
  const notify = (): void => {
    for (const listener of listeners) listener();
  };
  const states = new Map<string, PullState>(memory?.recall());
  const askedAt = new Map([...states.keys()].map((reference) => [reference, now()]));
  /** How often in a row Docker became unreachable during a pull. */
  const interrupted = new Map<string, number>();
  const running = new Set<Promise<void>>();
  const slots = createSlots(parallel);
  const closing = new AbortController();

  async function pull(reference: string, before: PullState | undefined): Promise<void> {
    const release = await slots.take(closing.signal);
    if (release === undefined) return;
    const started = now();
    try {
      const onProgress = ({ text }: { readonly text: string }): void => {
        states.set(reference, { state: "pulling", progress: text });
      };
      onProgress({ text: "asking the registry" });
      log.info("pulls", `pulling ${reference}`);
      await engine.pull(reference, onProgress, idle, closing.signal);
      states.set(reference, { state: "pulled", at: now() });
      interrupted.delete(reference);
      memory?.forget(reference);
      log.info("pulls", `pulled ${reference} in ${humanDuration(now() - started)}`);
    } catch (error) {
      if (error instanceof AgentError && NOT_ABOUT_THE_IMAGE.has(error.code)) {
        const times = (interrupted.get(reference) ?? 0) + 1;
        interrupted.set(reference, times);
        states.set(reference, pullInterrupted(before, times, error, now()));
      } else {
        const failed = pullFailed(before, error, now());
        interrupted.delete(reference);
        states.set(reference, failed);
        memory?.failed(reference, failed);
        const again = humanDuration(failed.retryAt - now());
        log.warn("pulls", `${reference}: ${failed.message}; tried again in ${again} at the earliest`);
      }
    } finally {
      release();
    }
  }

  function forget(): void {
    const idleOnes = [...askedAt].filter(([reference]) => states.get(reference)?.state !== "pulling");
    const surplus = askedAt.size - ENTRIES_MAX;
    // Ordered by when they were requested, oldest first.
    for (const [index, [reference, at]] of idleOnes.entries()) {
      if (index >= surplus && now() - at < FORGET_AFTER) break;
      askedAt.delete(reference);
      states.delete(reference);
      interrupted.delete(reference);
      memory?.forget(reference);
    }
  }

  return {
    states: () => states,
    subscribe: (listener) => void listeners.push(listener),
    request(image) {
      if (closing.signal.aborted) return;
      const reference = fullReference(image);
      askedAt.delete(reference);
      askedAt.set(reference, now());
      forget();
      const before = states.get(reference);
      if (before?.state === "pulling" || (before?.state === "failed" && now() < before.retryAt)) return;
      states.set(reference, { state: "pulling", progress: "waiting for other pulls" });
      const work = pull(reference, before).finally(() => {
        running.delete(work);
        if (!closing.signal.aborted) notify();
      });
      running.add(work);
      notify();
    },
    async close() {
      closing.abort();
      await Promise.all(running);
    },
  };
}
