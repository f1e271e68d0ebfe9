// Carries a terminal's output to the control plane: one frame in flight, the rest waits, and the pty waits for the rest.
import { milliseconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import { createTerminalOutputQueue, shouldPause } from "./output-queue.ts";
import type { Pty } from "./pty/pty.ts";

/** What a program may write ahead of a slow control plane when nothing can hold it back. */
const UNPAUSABLE_LIMIT = 262_144;
/** Otherwise: far above the high-water mark, so that what arrives between the pause and its effect never fills it. */
const PAUSABLE_LIMIT = 4_194_304;
/** How long the first bytes of a character wait for the others. */
const TAIL_PATIENCE = milliseconds(50);

export interface OutputStream {
  push(bytes: Uint8Array): void;
  /** From now on the pty is paused while too much waits. */
  hold(pty: Pick<Pty, "pausable" | "pause" | "resume">): void;
  /** It is not paused any more: whoever is to end has to be able to say goodbye. */
  release(): void;
  /** Nothing is taken any more, and what waits is thrown away. */
  mute(): void;
  /** Sends an empty frame unless there is another: only the ack of a frame tells that nobody listens any more. */
  probe(): void;
  /** No more output will come. */
  finish(): void;
  /** Sends frame after frame; resolves when all are sent, or muted, after `finish`. */
  run(send: (frame: Uint8Array) => Promise<void>): Promise<void>;
}

export function createOutputStream(): OutputStream {
  let pty: Pick<Pty, "pausable" | "pause" | "resume"> | undefined;
  const queue = createTerminalOutputQueue(() =>
    pty?.pausable === false ? UNPAUSABLE_LIMIT : PAUSABLE_LIMIT,
  );
  let paused = false;
  let held = true;
  let muted = false;
  let finished = false;
  let probing = false;
  let news = Promise.withResolvers<"news">();

  function regulate(): void {
    const pause = held && !muted && shouldPause(paused, queue.size());
    if (pty === undefined || pause === paused) return;
    paused = pause;
    if (pause) pty.pause();
    else pty.resume();
  }

  /** Waits for something to happen; true when it was the patience with half a character that ended. */
  async function patience(): Promise<boolean> {
    const late = queue.size() > 0 && sleep(TAIL_PATIENCE).then(() => "late" as const);
    const first = await (late === false ? news.promise : Promise.race([news.promise, late]));
    if (first === "news") news = Promise.withResolvers();
    return first === "late";
  }

  return {
    push(bytes) {
      if (muted) return;
      queue.push(bytes);
      regulate();
      news.resolve("news");
    },
    hold(target) {
      pty = target;
      regulate();
    },
    release() {
      held = false;
      regulate();
    },
    mute() {
      muted = true;
      regulate();
      news.resolve("news");
    },
    probe() {
      probing = true;
      news.resolve("news");
    },
    finish() {
      finished = true;
      news.resolve("news");
    },
    async run(send) {
      for (let flush = false; ;) {
        const taken = muted ? undefined : queue.take(flush || finished);
        if (taken === undefined && finished) return;
        const frame = taken ?? (probing && !muted ? new Uint8Array(0) : undefined);
        probing = false;
        if (frame === undefined) {
          flush = await patience();
          continue;
        }
        flush = false;
        regulate();
        await send(frame);
      }
    },
  };
}
