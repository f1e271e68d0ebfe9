// The end of a command that runs until it is told to stop: Ctrl-C, or SIGTERM.
import { type ExitCode, exit } from "../lib/agent-error.ts";

export interface Interruption {
  /** Aborts with the first of them. */
  readonly signal: AbortSignal;
  /** What the command exits with then. */
  readonly code: Promise<ExitCode>;
}

/** The second signal leaves at once. */
export function interruption(): Interruption {
  const controller = new AbortController();
  const { promise, resolve } = Promise.withResolvers<ExitCode>();
  const codes = { SIGINT: exit.interrupted, SIGTERM: exit.done } as const;
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(exit.interrupted);
      controller.abort();
      resolve(codes[name]);
    });
  }
  return { signal: controller.signal, code: promise };
}
