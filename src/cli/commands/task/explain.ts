// `task explain`: shows what a task would do on this node, by the code that would do it, without doing it.
import { existsSync, readFileSync } from "node:fs";
import { Database } from "bun:sqlite";
import * as v from "valibot";
import { databasePath, stateDirectory } from "../../../agent/agent.ts";
import { rootVetoes, unprivilegedAccount } from "../../../agent/accounts.ts";
import { type Runners, taskRunnersOf } from "../../../agent/protection.ts";
import type { Settings } from "../../../config/options.ts";
import { createServerClock } from "../../../control/server-clock.ts";
import { type RootAccess, createRootAccess } from "../../../identity/root-access.ts";
import { AgentError, exit, messageOf } from "../../../lib/agent-error.ts";
import { formatDuration } from "../../../lib/duration.ts";
import { formatSize } from "../../../lib/size.ts";
import { quoteIfNeeded } from "../../../lib/text.ts";
import { silent } from "../../../platform/log.ts";
import { AGENT_UNIT } from "../../../platform/systemd.ts";
import { permissionsOf } from "../../../tasks/context.ts";
import { TASK_KINDS } from "../../../tasks/kinds/kinds.ts";
import type { RunCommand } from "../../../tasks/kinds/kind.ts";
import { prepareTask } from "../../../tasks/permission.ts";
import { planCommand } from "../../../tasks/run/command.ts";
import { command } from "../../command.ts";
import { configFlags, configFrom } from "../../config-flags.ts";
import { settingsOfAgent } from "../../running-agent.ts";
import { print, printJson } from "../../ui/output.ts";

/** A task as the control plane has it; only these parts decide. */
const TaskFile = v.object({
  type: v.string("must be a string"),
  payload: v.optional(v.record(v.string(), v.unknown()), {}),
});

export const explain = command({
  name: "explain",
  description: "show what a task would do here, without doing it",
  examples: [
    "task explain task.json",
    `task explain - <<< '{"type":"shell.exec","payload":{"command":"id"}}'`,
  ],
  args: {
    ...configFlags,
    file: {
      type: "positional",
      description: "a JSON file with type and payload; - for stdin",
      required: true,
    },
    json: { type: "boolean", description: "print one JSON document" },
  },
  async run({ args }) {
    const { type, payload } = parseTask(await textOf(args.file), args.file);
    const settings = settingsOfAgent(await configFrom(args));
    const service = existsSync("/run/systemd/system") ? AGENT_UNIT : undefined;
    const runners = taskRunnersOf(settings, unprivilegedAccount(settings, silent).account);
    const ports = { kinds: TASK_KINDS, settings, runners, rootAccess: rootAccessOf(settings) };
    const prepared = prepareTask(type, payload, permissionsOf(ports, service));
    if (prepared.do === "refuse")
      throw new AgentError("tasks.refused", `refused here: ${prepared.text}`, { exit: exit.refused });
    const facts =
      prepared.do === "run"
        ? factsOfCommand(prepared, runners, settings)
        : prepared.do === "act"
          ? { does: words(prepared.command), as: "root, after the task is completed" }
          : {
              runs: `${type} in the agent itself`,
              as:
                prepared.root === undefined
                  ? (prepared.reader ?? "the agent")
                  : `the agent (${prepared.root} root access)`,
              timeout: formatDuration(prepared.timeout),
            };
    if (args.json) return printJson({ type, ...facts });
    print(`${"type".padEnd(12)} ${type}`);
    for (const [name, value] of Object.entries(facts))
      for (const line of [value].flat()) print(`${name.padEnd(12)} ${line}`);
  },
});

async function textOf(file: string): Promise<string> {
  if (file === "-") return Bun.stdin.text();
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new AgentError("cli.usage", `${file} cannot be read: ${messageOf(error)}`, { exit: exit.usage });
  }
}

function parseTask(text: string, file: string): v.InferOutput<typeof TaskFile> {
  try {
    return v.parse(TaskFile, JSON.parse(text));
  } catch (error) {
    throw new AgentError("cli.usage", `${file} is not a task: ${messageOf(error)}`, {
      hint: 'A task is a JSON document like {"type": "shell.exec", "payload": {"command": "id"}}.',
      exit: exit.usage,
    });
  }
}

/** Returns the root access that the agent has stored; none when no agent has run with this state directory. */
function rootAccessOf(settings: Settings): RootAccess {
  const path = databasePath(stateDirectory(settings));
  const vetoes = rootVetoes(settings);
  const serverClock = createServerClock();
  if (!existsSync(path)) return noRootAccess(vetoes);
  try {
    using database = new Database(path, { readonly: true, strict: true });
    return createRootAccess({ database, vetoes, serverClock, log: silent });
  } catch (error) {
    throw new AgentError("state.database", `${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

const noRootAccess = (vetoes: ReturnType<typeof rootVetoes>): RootAccess => ({
  desire() {},
  onChange() {},
  profile: () => "off",
  refusal: (surface) => vetoes[surface],
  report: () => ({}),
});

function factsOfCommand(
  prepared: RunCommand,
  runners: Runners,
  settings: Settings,
): Record<string, string | string[]> {
  const plan = planCommand("<task id>", prepared, runners, settings);
  const { limits, script, runner } = plan;
  return {
    runs: words(script.argv),
    as: runner.account.name + (prepared.root === undefined ? "" : ` (${prepared.root} root access)`),
    in: script.workingDirectory ?? `${runner.account.home} (home)`,
    mode: plan.mode === "unit" ? "a systemd unit of its own" : "a session of its own",
    timeout: `${formatDuration(prepared.timeout)}, then SIGTERM, and SIGKILL after ${formatDuration(plan.grace)}`,
    limits: [
      `memory ${formatSize(limits.memory)} (task_memory_max)`,
      `${limits.processes} processes (task_pids_max)`,
      ...(limits.cpuPercent === undefined ? [] : [`${limits.cpuPercent} % of a core (task_cpu_quota)`]),
      ...(limits.nice === 0 ? [] : [`nice ${limits.nice} (task_nice)`]),
      ...(limits.ioWeight === 100 ? [] : [`io weight ${limits.ioWeight} (task_io_weight)`]),
    ],
    ...(prepared.exclusive === undefined ? {} : { waits: `for other tasks of ${prepared.exclusive}` }),
    environment: Object.entries(script.environment).map(([name, value]) => `${name}=${shown(name, value)}`),
  };
}

const SECRET = /pass|secret|token|key|credential|auth/i;
const shown = (name: string, value: string): string =>
  SECRET.test(name) ? "(hidden)" : quoteIfNeeded(value);
const words = (argv: readonly string[]): string => argv.map(quoteIfNeeded).join(" ");
