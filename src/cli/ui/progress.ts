// What a command is waiting for, as a line that moves on a terminal, as plain lines elsewhere.
import { steadyNow } from "../../lib/clock.ts";
import { type Duration, humanDuration, milliseconds, minutes } from "../../lib/duration.ts";
import { terminalText } from "../../lib/terminal-text.ts";
import { STDERR, isTerminal, write } from "../../platform/stdio.ts";

const FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";
const FRAME_TIME = milliseconds(100);
/** A plain line for what is over sooner would only fill a log. */
const PLAIN_AFTER = milliseconds(700);
/** Between two plain lines about the same. */
const PLAIN_EVERY = minutes(1);

export interface Waiting {
  /** "waiting for approval" */
  readonly what: string;
  /** Why the last try did not succeed. */
  readonly problem?: string | undefined;
  /** How long it may go on; without it, how long it has taken so far is shown. */
  readonly left?: Duration;
}

export interface Progress extends Disposable {
  /** From now on this is waited for. */
  show(waiting: Waiting): void;
  /** Takes the moving line away, until the next `show`. */
  stop(): void;
}

/** Writes nothing at all unless it `speaks`. */
export function createProgress(speaks: boolean): Progress {
  const moves = isTerminal(STDERR);
  let waiting: Waiting = { what: "" };
  let [since, end, frame, told] = [steadyNow(), 0, 0, ""];
  let timer: ReturnType<typeof setInterval> | undefined;

  const line = (): string =>
    progressLine(waiting, waiting.left === undefined ? steadyNow() - since : end - steadyNow());
  const draw = (): void =>
    void write(STDERR, `\r\u001b[K  ${FRAMES[frame++ % FRAMES.length]} ${terminalText(line())}`);
  const tell = (): void => void write(STDERR, `  ${line()}\n`);

  function stop(): void {
    clearInterval(timer);
    timer = undefined;
    told = "";
    if (speaks && moves) write(STDERR, "\r\u001b[K");
  }

  return {
    show(next) {
      const key = `${next.what}\n${next.problem ?? ""}`;
      if (next.what !== waiting.what || told === "") since = steadyNow();
      waiting = { ...next };
      end = steadyNow() + (next.left ?? 0);
      if (!speaks || (key === told && !moves)) return;
      clearInterval(timer);
      told = key;
      if (moves) draw();
      timer = moves ? setInterval(draw, FRAME_TIME) : setTimeout(tellAndRepeat, PLAIN_AFTER);
    },
    stop,
    [Symbol.dispose]: stop,
  };

  function tellAndRepeat(): void {
    tell();
    timer = setInterval(tell, PLAIN_EVERY);
  }
}

/**
 * "asking https://api.example.com …  12s", "waiting for approval …  14m 58s left  (no answer within 10s; trying again)".
 * `time` is what is left where `left` is given, else what has passed.
 */
export function progressLine({ what, problem, left }: Waiting, time: Duration): string {
  const shown = `${humanDuration(Math.max(0, time))}${left === undefined ? "" : " left"}`;
  return `${what} …  ${shown}${problem === undefined ? "" : `  (${problem}; trying again)`}`;
}
