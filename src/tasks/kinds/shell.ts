// The kind shell.exec: a command of an operator, run by a shell. Pure.
//
//   {command, shell?, working_dir?, environment?, timeout_seconds? | timeoutSeconds?, timeout?, runAsRoot?, rootScope?}
//
// `timeout` is a Go duration. Root comes in two scopes: "task" runs any command, "operational" only the three below,
// of which two end the agent itself and therefore run after the completion has been delivered.
import * as v from "valibot";
import { parseDuration, seconds } from "../../lib/duration.ts";
import { type KindContext, type Prepared, type RunCommand, defineKind } from "./kind.ts";

/** The kernel's limit for one argument, less the terminating NUL. */
const COMMAND_MAX = 131_071;

/** Read-only in a bash, which is /bin/sh on some systems: setting one ends the shell. */
const KEPT_BY_SHELLS = new Set(["UID", "EUID", "PPID", "BASHOPTS", "SHELLOPTS", "BASH_VERSINFO"]);

const text = v.pipe(
  v.string("must be a string"),
  v.check((value) => !value.includes("\0"), "must not contain a NUL character"),
);
const absolute = v.pipe(v.string("must be a string"), v.startsWith("/", "must be an absolute path"));
const secondsField = v.pipe(
  v.union(
    [v.number(), v.pipe(v.string(), v.regex(/^\d+(\.\d+)?$/), v.transform(Number))],
    "must be a number of seconds",
  ),
  v.gtValue(0, "must be more than 0"),
);

const Payload = v.object({
  command: v.pipe(
    text,
    v.check((value) => value.trim() !== "", "is empty"),
    v.check(
      (value) => Buffer.byteLength(value) <= COMMAND_MAX,
      `is longer than ${COMMAND_MAX} bytes: put it into a file`,
    ),
  ),
  shell: v.nullish(v.pipe(text, absolute)),
  working_dir: v.nullish(v.pipe(text, absolute)),
  environment: v.nullish(
    v.record(
      v.pipe(
        v.string(),
        v.regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "has a name that is no variable name"),
        v.check((name) => !KEPT_BY_SHELLS.has(name), "has a name that shells keep for themselves"),
      ),
      v.pipe(v.union([text, v.number(), v.boolean()], "must be strings"), v.transform(String)),
    ),
  ),
  timeoutSeconds: v.nullish(secondsField),
  timeout_seconds: v.nullish(secondsField),
  timeout: v.nullish(
    v.pipe(
      v.string("must be a duration like 30s or 5m"),
      v.transform(parseDuration),
      v.number("must be a duration like 30s or 5m"),
      v.gtValue(0, "must be more than 0"),
    ),
  ),
  runAsRoot: v.nullish(v.boolean("must be true or false")),
  rootScope: v.nullish(v.string("must be a string")),
});
type Payload = v.InferOutput<typeof Payload>;

export const shellExec = defineKind({
  type: "shell.exec",
  allowedBy: "allow_tasks",
  payload: Payload,
  prepare(payload, context) {
    if (payload.runAsRoot !== true) return run(payload, payload.shell ?? SH, context);
    if (payload.rootScope === "operational") return prepareOperational(payload, context);
    // Root gets the system's own shell, whatever the payload names. Every other scope is that of any command.
    return { ...run(payload, SH, context), root: "task" };
  },
});

const SH = "/bin/sh";

function run(payload: Payload, shell: string, { settings }: KindContext): RunCommand {
  const asked = payload.timeoutSeconds ?? payload.timeout_seconds;
  return {
    do: "run",
    argv: [shell, "-lc", payload.command],
    ...(payload.working_dir == null ? {} : { workingDirectory: payload.working_dir }),
    environment: { SHELL: shell, ...payload.environment },
    timeout: asked == null ? (payload.timeout ?? settings.task_timeout) : seconds(asked),
  };
}

const SELF_RESTART = /^systemctl restart noderax-agent(?:\.service)?$/;
const OPERATIONAL =
  "Operational root access is limited to reboot, restarting noderax-agent, and apt-get update.";

function prepareOperational(payload: Payload, context: KindContext): Prepared {
  const command = payload.command.trim().replace(/\s+/g, " ");
  if (command === "apt-get update") {
    // Ignore the environment of the payload: LD_PRELOAD or APT_CONFIG would make it any command.
    const plain = { ...payload, command, environment: {}, working_dir: null };
    return { ...run(plain, SH, context), root: "operational" };
  }
  if (command === "reboot") return prepareReboot(context);
  if (SELF_RESTART.test(command)) return prepareRestart(context);
  return { do: "refuse", text: OPERATIONAL };
}

/** Reboot and restart are refused where they would do nothing: they follow the completion, which already says success. */
function prepareReboot({ rebootRefusal }: KindContext): Prepared {
  if (rebootRefusal !== undefined) return { do: "refuse", text: `not rebooted: ${rebootRefusal}` };
  return { do: "act", root: "operational", command: ["reboot"], text: "The machine reboots now." };
}

function prepareRestart({ ownService }: KindContext): Prepared {
  if (ownService === undefined) {
    const text =
      "not restarted: this agent is not a service of systemd, so nothing would start it again. Restart it where it was started.";
    return { do: "refuse", text };
  }
  return {
    do: "act",
    root: "operational",
    command: ["systemctl", "--no-block", "restart", ownService],
    text: "The agent restarts now.",
  };
}
