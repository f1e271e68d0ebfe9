// Pulls in the background: one per image whoever asks for it, a few at a time, each with its own back-off.
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
  /** By full reference, as `fullReference` writes it. */
  states(): ReadonlyMap<string, PullState>;
  /** Begins a pull unless there is one, or the last one failed too short a time ago. Never throws, never waits. */
  request(image: string): void;
  /** Gives up what is on its way; resolves when nothing is. */
  close(): Promise<void>;
}

export interface PullsOptions {
  readonly engine: Pick<Engine, "pull">;
  /** How many at a time. */
  readonly parallel: number;
  /** A pull during which nothing happens for so long is given up. */
  readonly idle: Duration;
  readonly log: Log;
  /** Failures of an earlier life; nothing is kept without it. */
  readonly memory?: PullMemory;
  /** A pull began, succeeded or failed. Not called for progress. */
  readonly onChange?: () => void;
  /** The steady clock, outside tests. */
  readonly now?: () => SteadyTime;
}

/** What nobody asked for in so long is forgotten, and of more images than this the oldest. */
const FORGET_AFTER: Duration = hours(1);
const ENTRIES_MAX = 1_000;

/** The daemon is away, not the image: it counts for nothing, but a daemon that comes and goes is not asked at once again. */
const SAYS_NOTHING: ReadonlySet<ErrorCode> = new Set([
  "docker.away",
  "docker.forbidden",
  "docker.version",
  "aborted",
]);

export function createPulls(options: PullsOptions): Pulls {
  const { engine, parallel, idle, log, memory, onChange = () => {}, now = steadyNow } = options;
  const states = new Map<string, PullState>(memory?.recall());
  const askedAt = new Map([...states.keys()].map((reference) => [reference, now()]));
  /** How often in a row Docker went away during a pull. */
  const interrupted = new Map<string, number>();
  const running = new Set<Promise<void>>();
  const slots = createSlots(parallel);
  const life = new AbortController();

  async function pull(reference: string, before: PullState | undefined): Promise<void> {
    const release = await slots.take(life.signal);
    if (release === undefined) return;
    const started = now();
    try {
      const onProgress = ({ text }: { readonly text: string }): void => {
        states.set(reference, { state: "pulling", progress: text });
      };
      onProgress({ text: "asking the registry" });
      log.info("pulls", `pulling ${reference}`);
      await engine.pull(reference, onProgress, idle, life.signal);
      states.set(reference, { state: "pulled", at: now() });
      interrupted.delete(reference);
      memory?.forget(reference);
      log.info("pulls", `pulled ${reference} in ${humanDuration(now() - started)}`);
    } catch (error) {
      if (error instanceof AgentError && SAYS_NOTHING.has(error.code)) {
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
    // In the order in which they were asked for, the longest ago first.
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
    request(image) {
      if (life.signal.aborted) return;
      const reference = fullReference(image);
      askedAt.delete(reference);
      askedAt.set(reference, now());
      forget();
      const before = states.get(reference);
      if (before?.state === "pulling" || (before?.state === "failed" && now() < before.retryAt)) return;
      states.set(reference, { state: "pulling", progress: "waiting for other pulls" });
      const work = pull(reference, before).finally(() => {
        running.delete(work);
        if (!life.signal.aborted) onChange();
      });
      running.add(work);
      onChange();
    },
    async close() {
      life.abort();
      await Promise.all(running);
    },
  };
}
