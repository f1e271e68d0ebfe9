// The shell script that runs a task's command: it outlives the agent, stores the output, and reports the exit status.
//
// In the run directory (0700, owned by the agent):
//   command.sh      exports, working directory, and the command; read over descriptor 3, then removed
//   began           created with O_EXCL by the wrapper that starts, or by an agent that prevents it
//   session         the wrapper's /proc/self/stat line, that of the init of a private PID namespace (or an empty line),
//                   the pids of the two output copiers and when the command began, then "ok"
//   stdout.log …    what the command wrote; …discarded: how many bytes more than the limit
//   exit            the exit status of the command and when it ended, then "ok"; its block is reserved before the
//                   command runs, so that a full disk loses no exit status
//
// Only the command drops to the task's user. Real pipes (FIFOs), because a script that opens /dev/stdout would truncate
// a regular file and fails on a socket; mode 0622, so that a task user may open them again through /dev/stdout. `cat`
// rather than `head -c`, because head keeps output back until its buffer is full; `ulimit -f` bounds the file instead,
// and `wc` drains and counts what is beyond it, so that the command never sees a full disk as a broken pipe. The command
// runs in the foreground: a background job of a shell without job control ignores SIGINT. In a subshell, because dash
// writes its own "Terminated" to where the output of a simple command goes. `exit` is not renamed into place: a stop
// ends whatever the wrapper starts from then on, an `mv` too. Wrapper and copiers survive SIGTERM, SIGINT and SIGHUP (a
// unit that is stopped, `kill 0` of a command that shares their user): they end when the command and its output do. A
// trap with a command is reset in the subshell of the command; one that ignores would be inherited by it. Times
// are those of /proc/uptime, in seconds since the boot, because they may be read hours later, when the wall clock
// may have been set.
//
// With a private view (platform/isolation.ts) the wrapper was started by `unshare --pid`: the first process that it forks
// is the init of the namespace in which all its other children live. It sees their pids, and its own, as outside.
import { quote } from "../../lib/text.ts";
import { REAP } from "../../platform/isolation.ts";
import { COUNT_HITS } from "../../platform/task-limits.ts";

/**
 * Runs the wrapper in the directory of its first argument, if our user owns that. Checks the working directory, which
 * nobody can exchange, not the path.
 */
export const ENTER = 'cd "$1" && [ -O . ] && . ./wrapper.sh';

/**
 * Arguments: run directory, limit of a stream in 512-byte blocks, the view, whether the command has a report ("report" or
 * "none"), and the command line that reads descriptor 3.
 */
export const WRAPPER = `#!/bin/sh
limit=$2
view=$3
report=$4
shift 4
umask 077
trap : TERM INT HUP
set -C
: 2>/dev/null >began || exit 71
set +C
${REAP}
${COUNT_HITS}
init=
if [ "$view" = private ]; then
  reap </dev/null >/dev/null 2>&1 &
  reaper=$!
  read -r init <"/proc/$reaper/stat"
fi
mkfifo -m 622 stdout.pipe stderr.pipe || exit 72
copy() {
  trap '' TERM INT HUP
  ( ulimit -f "$limit"; trap '' XFSZ; exec cat >>"$1.log" ) 2>/dev/null
  wc -c >"$1.discarded"
}
exec 3<command.sh
copy stdout <stdout.pipe 3<&- &
out=$!
{ rm -f command.sh; copy stderr; } <stderr.pipe 3<&- &
err=$!
read -r stat </proc/self/stat
read -r up idle </proc/uptime
printf '%s\\n%s\\n%s %s %s ok\\n' "$stat" "$init" "$out" "$err" "$up" >session
[ "$report" = none ] || exec 4>report
( exec "$@" ) </dev/null >stdout.pipe 2>stderr.pipe
code=$?
exec 3<&- 4>&-
{ hits >hits; } 2>/dev/null
read -r up idle </proc/uptime
printf '%s %s ok\\n' "$code" "$up" 1<>exit
wait "$out" "$err"
rm -f stdout.pipe stderr.pipe
[ "$view" != private ] || release
`;

/** What the task's own shell runs: it takes the real script from descriptor 3, so that the payload's variables are in no argv. */
export const READ_COMMAND = 'eval "$(cat <&3)"';

export interface CommandScript {
  readonly argv: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Entered before the command; undefined: the home directory, or / where that cannot be entered. */
  readonly workingDirectory: string | undefined;
}

/** The text of command.sh: a POSIX shell script that ends by becoming the command. */
export function commandScript({ argv, environment, workingDirectory }: CommandScript): string {
  const exports = Object.entries(environment).map(([name, value]) => `export ${name}=${quote(value)}`);
  const enter =
    workingDirectory === undefined
      ? 'cd "$HOME" 2>/dev/null || cd /'
      : `cd ${quote(workingDirectory)} || exit 126`;
  return [
    "umask 022",
    ...exports,
    enter,
    "unset OLDPWD",
    `exec 3<&-; exec ${argv.map(quote).join(" ")}`,
    "",
  ].join("\n");
}
