// Runs a short command to find out whether something works on this machine.
import type { Duration } from "../lib/duration.ts";
import { SYSTEM_PATH } from "./account.ts";

export interface Trial {
  /** Undefined when it did not end within the limit. */
  readonly code: number | undefined;
  /** What it wrote. */
  readonly output: string;
}

/** Rejects when the command could not be started. */
export type TrialRunner = (command: readonly string[], limit: Duration) => Promise<Trial>;

/** Runs it as our child. Rejects when the program cannot be executed. */
export async function tryHere(command: readonly string[], limit: Duration): Promise<Trial> {
  const child = Bun.spawn([...command], {
    cwd: "/",
    env: { PATH: SYSTEM_PATH },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: limit,
    killSignal: "SIGKILL",
  });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  const code = child.signalCode === "SIGKILL" ? undefined : (child.exitCode ?? KILLED);
  return { code, output: out + err };
}

/** As shells say that a command ended by a signal: at least this. */
const KILLED = 128;
