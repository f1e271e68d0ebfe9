// Runs commands in transient services of systemd that are attached to us: on our terminal, or with their output in our pipe.
//
// Such a service is no child of ours and inherits nothing, neither our sandbox nor our limits. systemd opens the
// descriptors of the `systemd-run` that starts it through /proc/<pid>/fd. With Type=exec `systemd-run` ends after
// systemd has executed the command, and by then they are open in the service. No file and no D-Bus daemon is needed.
import { type Duration, seconds } from "../lib/duration.ts";
import { SYSTEM_PATH } from "./account.ts";
import { escapeVariables, installedVersion, systemdRun, unitProperties } from "./systemd.ts";
import { type TrialRunner, tryHere } from "./trial.ts";

/** The first version with Type=exec. */
const TYPE_EXEC = 240;

export interface AttachingSystemd {
  /** Path of `systemd-run`. */
  readonly run: string;
  readonly version: number;
}

/** Undefined where we are not root, systemd is not the init, or it is too old for attached units. */
export function attachingSystemd(): AttachingSystemd | undefined {
  const run = systemdRun();
  const version = run === undefined ? 0 : installedVersion(run);
  return run === undefined || version < TYPE_EXEC ? undefined : { run, version };
}

export interface AttachedUnit {
  readonly name: string;
  readonly slice: string;
  readonly description: string;
  /** A unit that is stopped before this one when the machine shuts down. */
  readonly outlives: string;
  readonly syslogIdentifier: string;
  /** The whole environment of the command. Visible to all users of this machine. */
  readonly environment: Readonly<Record<string, string>>;
  readonly command: readonly string[];
}

/**
 * The client on the terminal: starts the unit, and ends with the exit code that the command writes to the pipe. The
 * pipe is closed without one when the command was killed. The trap: the agent's unit is stopped, or the terminal hung
 * up, before the service has ended.
 */
const CLIENT = `trap : HUP INT QUIT TERM
code=$(exec /bin/sh -c '
at=file:/proc/$$/fd
exec "$0" --property=StandardInput=$at/0 --property=StandardOutput=$at/0 --property=StandardError=$at/1 "$@"' "$@") ||
  exit 126
exit "\${code:-137}"`;

/** In the service. The terminal is still that of the client's session: \`setsid --ctty\` takes it away, as root may. */
const TAKE_TERMINAL = 'exec 9>&2 2>&1; exec setsid --ctty --wait -- "$@"';

/**
 * Returns the command line of a client that, as leader of a session with a terminal, runs the command in a unit on that
 * terminal. The command is the leader of the terminal's session then; it must write its exit code to descriptor 9.
 */
export function attachedUnit({ run, version }: AttachingSystemd, unit: AttachedUnit): string[] {
  const command = ["/usr/bin/env", "-i", ...assignments(unit.environment), ...unit.command];
  return [
    "/bin/sh",
    "-c",
    CLIENT,
    unit.syslogIdentifier,
    run,
    "--quiet",
    "--collect",
    `--unit=${unit.name}`,
    `--slice=${unit.slice}`,
    `--description=${unit.description}`,
    `--property=Before=${unit.outlives}`,
    ...unitProperties(version, unit.syslogIdentifier).map((property) => `--property=${property}`),
    "--property=Type=exec",
    // Interactive shells ignore SIGTERM.
    "--property=SendSIGHUP=yes",
    "--",
    "/bin/sh",
    "-c",
    escapeVariables(TAKE_TERMINAL),
    "sh",
    ...command.map(escapeVariables),
  ];
}

const assignments = (environment: Readonly<Record<string, string>>): string[] =>
  Object.entries(environment).map(([name, value]) => `${name}=${value}`);

/** A pipe of the shell: systemd cannot open the socket that Bun gives a child as its output. */
const COLLECT = `out=$(exec /bin/sh -c 'exec "$0" --property=StandardOutput=file:/proc/$$/fd/1 "$@"' "$@") || exit 1
printf %s "$out"`;
const REPORT = '( exec "$@" ) 2>&1; printf "\\nexit %s" "$?"';
/** How long systemd may take to start a unit. */
const START_LIMIT = seconds(3);

/** Returns a runner in units of their own; it rejects when systemd does not start one. */
export function tryInUnit({ run }: AttachingSystemd, slice: string): TrialRunner {
  return async (command, limit) => {
    const inside = ["/bin/sh", "-c", REPORT, "sh", ...command].map(escapeVariables);
    const unit = [run, ...shortUnit(slice, limit), "/usr/bin/env", "-i", `PATH=${SYSTEM_PATH}`, ...inside];
    const client = await tryHere(["/bin/sh", "-c", COLLECT, "sh", ...unit], limit + START_LIMIT);
    if (client.code !== 0)
      throw new Error(`systemd did not start a unit: ${client.output.trim() || "no answer"}`);
    const [whole, code] = /\n?exit (\d+)$/.exec(client.output) ?? [];
    return {
      code: code === undefined ? undefined : Number(code),
      output: client.output.slice(0, client.output.length - (whole?.length ?? 0)),
    };
  };
}

/** Standard output through one pipe; errors and at last the exit code through another, whose reader ends with the code. */
const PIPED = `exec 3>&1
{ /bin/sh -c '
at=file:/proc/$$/fd
exec "$0" --property=StandardOutput=$at/1 --property=StandardError=$at/5 "$@"' "$@" 3>&- | cat >&3 5>&-; } 5>&1 | {
  errors=$(cat)
  code=\${errors##*exit }
  case $code in "" | *[!0-9]*) code=125 ;; esac
  printf "%s\\n" "\${errors%exit *}" >&2
  exit "$code"
}`;
const REPORT_LAST = '"$@"; printf "\\nexit %s" "$?" >&2';

/**
 * Returns a command line that runs the command in a unit, for at most `limit`, and has its output and exit code; 125 when
 * systemd does not start it or ends it. What was killed in the middle goes on until it writes or its time is over.
 */
export function pipedUnit(
  { run }: AttachingSystemd,
  unit: {
    readonly slice: string;
    readonly environment: Readonly<Record<string, string>>;
    readonly limit: Duration;
  },
  command: readonly string[],
): string[] {
  const inside = ["/bin/sh", "-c", REPORT_LAST, "sh", ...command];
  const options = [
    ...shortUnit(unit.slice, unit.limit),
    "/usr/bin/env",
    "-i",
    ...assignments(unit.environment),
  ];
  return ["/bin/sh", "-c", PIPED, "sh", run, ...options, ...inside.map(escapeVariables)];
}

/** Options of `systemd-run` for a command of which the journal says nothing unless it fails. */
const shortUnit = (slice: string, limit: Duration): string[] => [
  "--quiet",
  "--collect",
  `--slice=${slice}`,
  "--description=short command of noderax-agent",
  "--property=Type=exec",
  "--property=LogLevelMax=notice",
  `--property=RuntimeMaxSec=${limit / 1_000}`,
  "--property=KillSignal=SIGKILL",
  "--",
];
