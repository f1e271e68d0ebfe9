// The supervising shell between a pty and a terminal's own shell, when that has a private view of the machine.
//
// It leads the session that has the pty, and ends with the shell's exit code. Job control (set -m) gives the shell a
// process group of its own that it can see from inside its namespace. Background processes stay alive with the namespace.
// The trap ignores the signals of a hang-up, so that this shell outlives the other and returns its exit code.
import { REAP, type View, confined, supervised } from "../platform/isolation.ts";

const SUPERVISOR = `trap : HUP INT QUIT TERM
${REAP}
reap </dev/null >/dev/null 2>&1 &
reaper=$!
set -m 2>/dev/null
( exec "$@" )
code=$?
exec 2>/dev/null
release
exit "$code"`;

/** Returns the command line that becomes a terminal's shell, or supervises it. */
export function terminalCommand(
  view: View,
  openFiles: number | undefined,
  shell: readonly string[],
): string[] {
  const command = confined({ view, openFiles, onTerminal: true }, shell);
  return view === "shared"
    ? command
    : supervised(view, ["/bin/sh", "-c", SUPERVISOR, "noderax-terminal", ...command]);
}
