// Sends a terminal's output to the control plane: one frame in flight, the rest in a queue that pauses the pty.
import { milliseconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import { createTerminalOutputQueue, shouldPause } from "./output-queue.ts";
import type { Pty } from "./pty/pty.ts";

/** Bytes queued for a slow control plane when the pty cannot be paused. */
const UNPAUSABLE_LIMIT = 262_144;
/** Otherwise: far above the high-water mark, so that output between the pause and its effect never fills it. */
const PAUSABLE_LIMIT = 4_194_304;
/** Wait for the rest of a character of which only the first bytes arrived. */
const TAIL_WAIT = milliseconds(50);

export interface OutputStream {
  push(bytes: Uint8Array): void;
  /** From now on pauses the pty while the queue is above its mark. */
  hold(pty: Pick<Pty, "pausable" | "pause" | "resume">): void;
  /** Never pauses the pty again: programs that are being ended must be able to write. */
  release(): void;
  /** Drops the queue and all further output. */
  mute(): void;
  /** Sends an empty frame unless there is output: only the ack of a frame shows whether the session is still open. */
  probe(): void;
  /** No more output will come. */
  finish(): void;
  /** Sends frame after frame. Resolves after `finish`, when all are sent or muted. */
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

  /** Resolves at the next change; with true when the wait for the rest of a character ended first. */
  async function nextChange(): Promise<boolean> {
    const late = queue.size() > 0 && sleep(TAIL_WAIT).then(() => "late" as const);
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
          flush = await nextChange();
          continue;
        }
        flush = false;
        regulate();
        await send(frame);
      }
    },
  };
}
