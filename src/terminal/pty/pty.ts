// Starts a program on a pseudo-terminal, in the first of three modes that works on this machine:
//
//   pty+ctty      a session of its own with the pty as its controlling terminal: job control, Ctrl-C, window changes
//   pty-no-ctty   a session of its own that only reads and writes the pty: for a kernel that refuses TIOCSCTTY
//   pty-minimal   through bun-pty and its native library: needs an executable /tmp, passes text only, and leaks
//                 descriptors; for a runtime without a terminal of its own
import { AgentError, messageOf } from "../../lib/agent-error.ts";
import type { FlowControl } from "./flow-control.ts";
import { spawnOnBun } from "./bun.ts";
import { spawnMinimal } from "./minimal.ts";

export const PTY_MODES = ["pty+ctty", "pty-no-ctty", "pty-minimal"] as const;
export type PtyMode = (typeof PTY_MODES)[number];

export interface PtyOrder {
  readonly command: readonly string[];
  /** The whole environment of the child. */
  readonly environment: Readonly<Record<string, string>>;
  readonly cols: number;
  readonly rows: number;
  /** New owner of the tty; undefined: it stays ours. */
  readonly owner: number | undefined;
  /** Pauses the output; undefined where that is not possible. */
  readonly flow: FlowControl | undefined;
  /** The bytes are only valid until the listener returns. */
  readonly onData: (bytes: Uint8Array) => void;
}

export interface PtyExit {
  readonly exitCode: number | null;
  readonly signal: string | null;
}

export interface Pty {
  readonly pid: number;
  readonly mode: PtyMode;
  /** False when too much input is pending for a program that does not read: the bytes are dropped. */
  write(bytes: Uint8Array): boolean;
  resize(cols: number, rows: number): void;
  /** False where output cannot be paused: the reader must bound its buffer. */
  readonly pausable: boolean;
  pause(): void;
  resume(): void;
  readonly exited: Promise<PtyExit>;
  /**
   * Resolves after `exited` when the last output was passed on; after a quiet period (0.1 to 2 s) where a background job
   * keeps the pty open.
   */
  readonly drained: Promise<void>;
  /** Hangs up. May be called twice. */
  close(): void;
}

/** Opens a pty and starts the command on it, in `/`. Throws "terminal.pty" with the reason of each mode when none works. */
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
