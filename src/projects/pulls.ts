// Pulls in the background: one per image whoever asks for it, a few at a time, each with its own back-off.
import { AgentError } from "../lib/agent-error.ts";
import { type Duration, hours, humanDuration } from "../lib/duration.ts";
import { createSlots } from "../lib/slots.ts";
import type { Log } from "../platform/log.ts";
import type { Engine } from "./engine.ts";
import { type PullState, fullReference } from "./images.ts";
import { pullFailed } from "./pull-failure.ts";

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
  /** A pull began, succeeded or failed. Not called for progress. */
  readonly onChange?: () => void;
  readonly now?: () => number;
}

/** What nobody asked for in so long is forgotten, and of more images than this the oldest. */
const FORGET_AFTER: Duration = hours(1);
const ENTRIES_MAX = 1_000;

/** The daemon is away, not the image: nothing is known about the image then. */
const SAYS_NOTHING: ReadonlySet<string> = new Set([
  "docker.away",
  "docker.forbidden",
  "docker.version",
  "aborted",
]);

export function createPulls(options: PullsOptions): Pulls {
  const { engine, parallel, idle, log, onChange = () => {}, now = Date.now } = options;
  const states = new Map<string, PullState>();
  const askedAt = new Map<string, number>();
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
      log.info("pulls", `pulled ${reference} in ${humanDuration(now() - started)}`);
    } catch (error) {
      if (error instanceof AgentError && SAYS_NOTHING.has(error.code)) states.delete(reference);
      else {
        const failed = pullFailed(before, error, now());
        states.set(reference, failed);
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
