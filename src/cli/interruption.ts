// The end of a command that runs until it is told to stop: Ctrl-C, SIGTERM, a terminal that closes, or a reader that left.
import { readFileSync } from "node:fs";
import { AgentError, type ExitCode, exit } from "../lib/agent-error.ts";
import { leaveNow, watchReader } from "../platform/stdio.ts";

const CODES = { SIGINT: exit.interrupted, SIGTERM: exit.done, SIGHUP: exit.done } as const;
export type EndSignal = keyof typeof CODES;

export interface Interruption {
  /** Aborts with the first of them. */
  readonly signal: AbortSignal;
  /** Resolves with the first of them to what the command exits with. */
  readonly code: Promise<ExitCode>;
  /** What it was; undefined before, and for a reader that left. */
  readonly name: () => EndSignal | undefined;
}

export interface InterruptionOptions {
  /** What the second signal does. Default: the process ends at once. */
  readonly onSecond?: () => void;
  /** Ends too when nobody can read stdout any more: for commands whose purpose is to show something. */
  readonly untilReaderLeaves?: boolean;
}

/** Call it before anything is made that has to be removed: until then a signal simply ends the process. */
export function interruption({
  onSecond,
  untilReaderLeaves = false,
}: InterruptionOptions = {}): Interruption {
  const controller = new AbortController();
  const { promise, resolve } = Promise.withResolvers<ExitCode>();
  let name: EndSignal | undefined;
  const end = (code: ExitCode): void => {
    resolve(code);
    controller.abort();
  };
  for (const [signal, code] of Object.entries(CODES) as [EndSignal, ExitCode][]) {
    if (signal === "SIGHUP" && isHangupIgnored()) continue;
    process.on(signal, () => {
      if (controller.signal.aborted)
        return onSecond === undefined ? void leaveNow(exit.interrupted) : onSecond();
      name = signal;
      end(code);
    });
  }
  if (untilReaderLeaves) {
    const { signal } = watchReader();
    const stop = (): void => end(signal.reason instanceof AgentError ? signal.reason.exit : exit.failed);
    signal.addEventListener("abort", stop, { once: true });
  }
  return { signal: controller.signal, code: promise, name: () => name };
}

/** True under `nohup`: a handler of ours would undo what the person asked for. */
function isHangupIgnored(): boolean {
  const [, mask = "0"] = /^SigIgn:\s*([\da-f]+)$/m.exec(readFileSync("/proc/self/status", "latin1")) ?? [];
  return (BigInt(`0x${mask}`) & 1n) === 1n;
}
