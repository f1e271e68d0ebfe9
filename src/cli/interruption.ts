// Ends commands that run until they are stopped: by Ctrl-C, SIGTERM, a closed terminal, or a closed stdout.
import { readFileSync } from "node:fs";
import { AgentError, type ExitCode, exit } from "../lib/agent-error.ts";
import { leaveNow, watchReader } from "../platform/stdio.ts";

const CODES = { SIGINT: exit.interrupted, SIGTERM: exit.done, SIGHUP: exit.done } as const;
export type EndSignal = keyof typeof CODES;

export interface Interruption {
  /** Aborts on the first signal. */
  readonly signal: AbortSignal;
  /** Resolves on the first signal with the exit code of the command. */
  readonly code: Promise<ExitCode>;
  /** The signal received; `undefined` before one arrives, and when stdout was closed. */
  readonly name: () => EndSignal | undefined;
}

export interface InterruptionOptions {
  /** What the second signal does. Default: the process ends at once. */
  readonly onSecond?: () => void;
  /** Also ends when stdout is closed: for commands whose purpose is to show something. */
  readonly untilReaderLeaves?: boolean;
}

/** Handles the signals from now on. Call it before creating anything that must be removed: until then a signal ends the process. */
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

/** Tells whether SIGHUP is ignored, as under `nohup`: installing a handler would undo that. */
function isHangupIgnored(): boolean {
  const [, mask = "0"] = /^SigIgn:\s*([\da-f]+)$/m.exec(readFileSync("/proc/self/status", "latin1")) ?? [];
  return (BigInt(`0x${mask}`) & 1n) === 1n;
}
