// The supervising shell between a pty and a terminal's own shell, when that has a private view of the machine or a unit of
// its own.
//
// It leads the session that has the pty, and ends with the shell's exit code. Where descriptor 9 is open
// (platform/attached-unit.ts) it writes the code there instead: no unit has failed when a shell ends with 1. Job control
// (set -m) gives the shell a process group of its own that it can see from inside its namespace. Background processes stay
// alive with the namespace. The trap ignores the signals of a hang-up, so that this shell outlives the other and returns its
// exit code.
import { REAP, type View, confined, supervised } from "../platform/isolation.ts";

const supervisor = (view: View): string => `trap : HUP INT QUIT TERM
${view === "private" ? START_REAPER : ""}
set -m 2>/dev/null
( exec "$@" ) 9>&-
code=$?
exec 2>/dev/null
${view === "private" ? "release" : ""}
echo "$code" >&9 && exit 0
exit "$code"`;

/** `exec`, since shells keep a copy of what they redirect for a function: the reaper would hold descriptor 9 open. */
const START_REAPER = `${REAP}
{ exec </dev/null >/dev/null 2>&1 9>&-; reap; } &
reaper=$!`;

export interface TerminalShell {
  readonly view: View;
  /** Its soft limit of open files; undefined: that of the process that starts it. */
  readonly openFiles: number | undefined;
  /** The command line that becomes the shell. */
  readonly shell: readonly string[];
}

/** Returns the command line that becomes a terminal's shell, or supervises it in a private view. */
export const terminalCommand = (order: TerminalShell): string[] =>
  order.view === "shared" ? confinedShell(order) : supervisedShell(order);

/** Returns the command line that supervises a terminal's shell and reports its exit code to descriptor 9. */
export const supervisedShell = (order: TerminalShell): string[] =>
  supervised(order.view, [
    "/bin/sh",
    "-c",
    supervisor(order.view),
    "noderax-terminal",
    ...confinedShell(order),
  ]);

const confinedShell = ({ view, openFiles, shell }: TerminalShell): string[] =>
  confined({ view, openFiles, onTerminal: true }, shell);
