// The kind shell.exec: a command of an operator, run by a shell. Pure.
//
//   {command, shell?, working_dir?, environment?, timeout_seconds? | timeoutSeconds?, timeout?, runAsRoot?, rootScope?}
//
// `timeout` is a Go duration. Root comes in two scopes: "task" runs any command, "operational" only the three below,
// of which two end the agent itself and therefore run after the completion has been delivered.
import * as v from "valibot";
import { type Duration, parseDuration, seconds } from "../../lib/duration.ts";
import { allows } from "../../protocol/noderax/root-access.ts";
import type { KindContext, Prepared, TaskKind } from "./kind.ts";

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

export const shellExec: TaskKind = {
  type: "shell.exec",
  prepare(payload, context) {
    const parsed = v.safeParse(Payload, payload);
    if (!parsed.success) {
      const problems = parsed.issues.map(
        (issue) => `${v.getDotPath(issue) ?? "payload"} ${problemOf(issue)}`,
      );
      return { do: "reject", text: `invalid payload of shell.exec: ${problems.join("; ")}` };
    }
    if (parsed.output.runAsRoot === true) return prepareRoot(parsed.output, context);
    return run(parsed.output, context.defaultTimeout, false);
  },
};

/** A missing key is the object's issue; every other one is worded above. */
const problemOf = (issue: v.BaseIssue<unknown>): string =>
  issue.type === "object" ? "is missing" : issue.message;

function run(payload: Payload, defaultTimeout: Duration, asRoot: boolean): Prepared {
  const asked = payload.timeoutSeconds ?? payload.timeout_seconds;
  return {
    do: "run",
    asRoot,
    // Root gets the system's own shell, whatever the payload names.
    shell: asRoot ? "/bin/sh" : (payload.shell ?? "/bin/sh"),
    command: payload.command,
    workingDirectory: payload.working_dir ?? undefined,
    environment: payload.environment ?? {},
    timeout: asked == null ? (payload.timeout ?? defaultTimeout) : seconds(asked),
  };
}

const SELF_RESTART = /^systemctl restart noderax-agent(?:\.service)?$/;
const OPERATIONAL =
  "Operational root access is limited to reboot, restarting noderax-agent, and apt-get update.";

function prepareRoot(payload: Payload, context: KindContext): Prepared {
  const { rootProfile, rootRefusal, defaultTimeout } = context;
  const scope = payload.rootScope === "operational" ? "operational" : "task";
  if (!allows(rootProfile, scope)) {
    const why = rootRefusal(scope) ?? `the root access profile applied on this node is "${rootProfile}"`;
    return { do: "reject", text: `root access refused (${scope}): ${why}` };
  }
  if (scope === "task") return run(payload, defaultTimeout, true);
  const command = payload.command.trim().replace(/\s+/g, " ");
  if (command === "apt-get update") {
    // Ignore the environment of the payload: LD_PRELOAD or APT_CONFIG would make it any command.
    return run({ ...payload, command, environment: {}, working_dir: null }, defaultTimeout, true);
  }
  if (command === "reboot") return prepareReboot(context);
  if (SELF_RESTART.test(command)) return prepareRestart(context);
  return { do: "reject", text: OPERATIONAL };
}

/** Reboot and restart are rejected where they would do nothing: they follow the completion, which already says success. */
function prepareReboot({ rebootRefusal }: KindContext): Prepared {
  if (rebootRefusal !== undefined) return { do: "reject", text: `not rebooted: ${rebootRefusal}` };
  return { do: "afterwards", command: ["reboot"], text: "The machine reboots now." };
}

function prepareRestart({ ownService }: KindContext): Prepared {
  if (ownService === undefined) {
    const text =
      "not restarted: this agent is not a service of systemd, so nothing would start it again. Restart it where it was started.";
    return { do: "reject", text };
  }
  return {
    do: "afterwards",
    command: ["systemctl", "--no-block", "restart", ownService],
    text: "The agent restarts now.",
  };
}
