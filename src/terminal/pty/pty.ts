// A program on a pseudo-terminal, in one of three modes, the best that this machine can do:
//
//   pty+ctty      a session of its own with the pty as its controlling terminal: job control, Ctrl-C, window changes
//   pty-no-ctty   a session of its own that only reads and writes the pty: for a kernel that refuses TIOCSCTTY
//   pty-minimal   through bun-pty, whose native library is all it shares with the others: it needs an executable /tmp,
//                 knows text only, and leaks descriptors; for a runtime without a terminal of its own
import { AgentError, messageOf } from "../../lib/agent-error.ts";
import type { FlowControl } from "./flow-control.ts";
import { spawnOnBun } from "./bun.ts";
import { spawnMinimal } from "./minimal.ts";

export const PTY_MODES = ["pty+ctty", "pty-no-ctty", "pty-minimal"] as const;
export type PtyMode = (typeof PTY_MODES)[number];

export interface PtyOrder {
  readonly command: readonly string[];
  /** All of it: the child gets nothing else. */
  readonly environment: Readonly<Record<string, string>>;
  readonly cols: number;
  readonly rows: number;
  /** To whom the tty is given; undefined: it stays ours. */
  readonly owner: number | undefined;
  /** What holds the output back, if anything can. */
  readonly flow: FlowControl | undefined;
  /** The bytes are the listener's only until it returns. */
  readonly onData: (bytes: Uint8Array) => void;
}

export interface PtyExit {
  readonly exitCode: number | null;
  readonly signal: string | null;
}

export interface Pty {
  readonly pid: number;
  readonly mode: PtyMode;
  /** False when too much waits for a program that does not read: nothing of it will arrive then. */
  write(bytes: Uint8Array): boolean;
  resize(cols: number, rows: number): void;
  /** False where output cannot be held back: whoever reads must bound what they keep. */
  readonly pausable: boolean;
  pause(): void;
  resume(): void;
  readonly exited: Promise<PtyExit>;
  /**
   * Resolves after `exited` when the last output was handed over. Where a background job keeps the pty open, when there
   * was silence for a moment.
   */
  readonly drained: Promise<void>;
  /** Hangs up. May be called twice. */
  close(): void;
}

/** Opens a pty and starts the command on it, as it is: in `/`. Throws when no mode works, with the reason of each. */
export async function spawnPty(order: PtyOrder, modes: readonly PtyMode[] = PTY_MODES): Promise<Pty> {
  const failures: string[] = [];
  for (const mode of modes) {
    try {
      return mode === "pty-minimal" ? await spawnMinimal(order) : spawnOnBun(order, mode);
    } catch (error) {
      failures.push(`${mode}: ${messageOf(error)}`);
    }
  }
  throw new AgentError("terminal.pty", `no pseudo-terminal could be opened (${failures.join("; ")})`, {
    hint: "Is /dev/pts mounted, with room for another one (/proc/sys/kernel/pty/max)?",
  });
}
