// The wait for an approval, as a line that moves on a terminal, as plain lines elsewhere.
import { steadyNow } from "../lib/clock.ts";
import { type Duration, humanDuration, minutes } from "../lib/duration.ts";
import { STDERR, isTerminal, write } from "../platform/stdio.ts";

const FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";
/** Between two plain lines, so that a log is not filled. */
const PLAIN_EVERY = minutes(1);

export interface Spinner {
  wait(waiting: { readonly left: Duration; readonly problem: string | undefined }): void;
  stop(): void;
}

/** Writes nothing at all unless it `speaks`. */
export function approvalSpinner(speaks: boolean): Spinner {
  const moves = speaks && isTerminal(STDERR);
  let end = 0;
  let problem: string | undefined;
  let frame = 0;
  let plainAt = -Infinity;
  let timer: ReturnType<typeof setInterval> | undefined;

  const text = (): string => {
    const trouble = problem === undefined ? "" : `  (${problem}; trying again)`;
    return `waiting for approval …  ${humanDuration(Math.max(0, end - steadyNow()))} left${trouble}`;
  };
  const draw = (): void => void write(STDERR, `\r\u001b[K  ${FRAMES[frame++ % FRAMES.length]} ${text()}`);

  return {
    wait(waiting) {
      end = steadyNow() + waiting.left;
      problem = waiting.problem;
      if (moves) {
        draw();
        timer ??= setInterval(draw, 100);
      } else if (speaks && steadyNow() - plainAt >= PLAIN_EVERY) {
        plainAt = steadyNow();
        write(STDERR, `  ${text()}\n`);
      }
    },
    stop() {
      clearInterval(timer);
      timer = undefined;
      if (moves) write(STDERR, "\r\u001b[K");
    },
  };
}
