// Shows what a command waits for: an animated line on a terminal, plain lines elsewhere.
import { steadyNow } from "../../lib/clock.ts";
import { type Duration, humanDuration, milliseconds, minutes } from "../../lib/duration.ts";
import { terminalText } from "../../lib/terminal-text.ts";
import { STDERR, isTerminal, write } from "../../platform/stdio.ts";

const FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";
const FRAME_TIME = milliseconds(100);
/** Shorter waits print no plain line: they would only fill a log. */
const PLAIN_AFTER = milliseconds(700);
/** Interval between plain lines about the same wait. */
const PLAIN_EVERY = minutes(1);

export interface WaitState {
  /** "waiting for approval" */
  readonly what: string;
  /** Why the last attempt failed. */
  readonly problem?: string | undefined;
  /** The time left (ms); without it, the elapsed time is shown. */
  readonly left?: Duration;
}

export interface Progress extends Disposable {
  /** Shows this wait from now on. */
  show(waiting: WaitState): void;
  /** Removes the animated line until the next `show`. */
  stop(): void;
}

/** Creates a progress line on stderr; writes nothing unless `enabled`. */
export function createProgress(enabled: boolean): Progress {
  const moves = isTerminal(STDERR);
  let waiting: WaitState = { what: "" };
  let [since, end, frame, shown] = [steadyNow(), 0, 0, ""];
  let timer: ReturnType<typeof setInterval> | undefined;

  const line = (): string =>
    progressLine(waiting, waiting.left === undefined ? steadyNow() - since : end - steadyNow());
  const draw = (): void =>
    void write(STDERR, `\r\u001b[K  ${FRAMES[frame++ % FRAMES.length]} ${terminalText(line())}`);
  const printLine = (): void => void write(STDERR, `  ${line()}\n`);

  function stop(): void {
    clearInterval(timer);
    timer = undefined;
    shown = "";
    if (enabled && moves) write(STDERR, "\r\u001b[K");
  }

  return {
    show(next) {
      const key = `${next.what}\n${next.problem ?? ""}`;
      if (next.what !== waiting.what || shown === "") since = steadyNow();
      waiting = { ...next };
      end = steadyNow() + (next.left ?? 0);
      if (!enabled || (key === shown && !moves)) return;
      clearInterval(timer);
      shown = key;
      if (moves) draw();
      timer = moves ? setInterval(draw, FRAME_TIME) : setTimeout(printAndRepeat, PLAIN_AFTER);
    },
    stop,
    [Symbol.dispose]: stop,
  };

  function printAndRepeat(): void {
    printLine();
    timer = setInterval(printLine, PLAIN_EVERY);
  }
}

/**
 * Words one wait: "asking https://api.example.com …  12s", "waiting for approval …  14m 58s left  (no answer within 10s; trying
 * again)". `time` is the time left if `left` is given, else the elapsed time (ms).
 */
export function progressLine({ what, problem, left }: WaitState, time: Duration): string {
  const shown = `${humanDuration(Math.max(0, time))}${left === undefined ? "" : " left"}`;
  return `${what} …  ${shown}${problem === undefined ? "" : `  (${problem}; trying again)`}`;
}
