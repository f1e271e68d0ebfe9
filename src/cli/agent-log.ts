// `logs --agent`: prints the log of the installed service, from the journal or from the file that OpenRC writes.
import { existsSync } from "node:fs";
import { UNIT, places } from "../install/places.ts";
import { type InitSystem, initSystem } from "../install/service.ts";
import { AgentError, type ExitCode, exit } from "../lib/agent-error.ts";
import { SYSTEM_PATH, isRoot } from "../platform/account.ts";
import { interruption } from "./interruption.ts";

export interface AgentLogFlags {
  readonly follow?: boolean | undefined;
  readonly tail?: string | undefined;
  readonly since?: string | undefined;
}

/** Returns the command that prints the log; undefined where there is no log, or OpenRC's has no times for `since`. Pure. */
export function agentLogCommand(init: InitSystem, flags: AgentLogFlags): string[] | undefined {
  const { follow = false, tail: lines, since } = flags;
  if (init === "systemd") {
    return [
      "journalctl",
      "--no-pager",
      "--output=cat",
      `--unit=${UNIT}`,
      ...(lines === undefined ? [] : [`--lines=${lines}`]),
      // journalctl takes a duration as "-10m"; it takes a time as we do.
      ...(since === undefined ? [] : [`--since=${/^\d{4}-/.test(since) ? since : `-${since}`}`]),
      ...(follow ? ["--follow"] : []),
    ];
  }
  if (init === "none" || since !== undefined) return undefined;
  return [
    "tail",
    "-n",
    lines === undefined || lines === "all" ? "+1" : lines,
    ...(follow ? ["-F"] : []),
    places.log,
  ];
}

/**
 * Prints the log until its end, or with `follow` until it is interrupted. Throws "cli.usage" for a wrong `tail` and
 * "agent.no_log" where there is no log, "agent.forbidden" where this user may not read it.
 */
export async function printAgentLog(flags: AgentLogFlags): Promise<ExitCode> {
  if (flags.tail !== undefined && !/^(\d{1,9}|all)$/.test(flags.tail))
    throw new AgentError("cli.usage", `--tail: "${flags.tail}" is not a number of lines`, {
      exit: exit.usage,
    });
  const init = initSystem();
  const command = agentLogCommand(init, flags);
  if (command === undefined || (init === "openrc" && !existsSync(places.log)))
    throw new AgentError("agent.no_log", "no service manager keeps a log of the agent here", {
      hint: "An agent in the foreground writes it to its standard output.",
    });
  const { signal, code } = interruption();
  const env = { ...process.env, PATH: SYSTEM_PATH, LC_ALL: "C.UTF-8" };
  const child = Bun.spawn(command, { env, stdio: ["ignore", "inherit", "inherit"] });
  signal.addEventListener("abort", () => child.kill());
  const ended = await child.exited;
  if (signal.aborted) return code;
  if (ended !== 0 && !isRoot())
    throw new AgentError("agent.forbidden", "the log is shown to root, and from the journal to its group", {
      hint: "sudo noderax-agent logs --agent",
      exit: exit.refused,
    });
  return ended === 0 ? exit.done : exit.failed;
}
