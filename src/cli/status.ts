// `status`: what the running agent is doing, and what it is waiting for.
import { stateDirectory } from "../agent.ts";
import { AgentError, type ExitCode, exit } from "../lib/agent-error.ts";
import { humanDuration, seconds } from "../lib/duration.ts";
import { askStatus } from "../ops/control-socket.ts";
import type { Status } from "../ops/status.ts";
import { command } from "./command.ts";
import { configFlags, configFrom } from "./config-flags.ts";
import { age, paint, print, printJson } from "./output.ts";

export default command({
  name: "status",
  description: "show what the running agent does and waits for",
  examples: ["status", "status --json"],
  args: { ...configFlags, json: { type: "boolean", description: "print one JSON document" } },
  async run({ args }): Promise<ExitCode> {
    const { settings } = await configFrom(args);
    const status = await askStatus(stateDirectory(settings));
    if (status === undefined) {
      throw new AgentError(
        "agent.not_running",
        `no agent runs with the state directory ${stateDirectory(settings)}`,
        {
          hint: "Start it:  noderax-agent run",
          exit: exit.failed,
        },
      );
    }
    if (args.json) printJson(status);
    else show(status);
    return exitOf(status);
  },
});

/** 3 without an identity, 6 when something does not work, else 0. */
function exitOf({ noderax, loops }: Status): ExitCode {
  if (noderax?.standing === "not_enrolled") return exit.notEnrolled;
  const ill = noderax?.standing !== "ok" || loops.some((loop) => loop.consecutive_failures > 0);
  return ill ? exit.degraded : exit.done;
}

function show(status: Status): void {
  const memory = `${Math.round(status.rss_bytes / 1e6)} MB`;
  const up = humanDuration(seconds(status.uptime_seconds));
  print(`noderax-agent ${status.version} · pid ${status.pid} · up ${up} · ${memory}`);
  for (const warning of status.warnings) print(`${paint.yellow("!")} ${warning}`);
  const { noderax } = status;
  if (noderax === null) return;
  print();
  print(`noderax        ${standingText(noderax.standing).padEnd(12)} ${noderax.api_url}`);
  print(`  node         ${noderax.node_id ?? "none: enroll with  noderax-agent enroll"}`);
  for (const { name, note, last_success, last_error, consecutive_failures } of status.loops) {
    const last = last_success === null ? "" : `last success ${age(Date.parse(last_success))} ago`;
    // Some loops say in their note already what went wrong.
    const why = note.includes(last_error?.message ?? "") ? "" : `: ${last_error?.message}`;
    const trouble = consecutive_failures > 0 ? paint.red(`failed ${consecutive_failures}×${why}`) : "";
    print(`  ${name.padEnd(12)} ${[note, last, trouble].filter(Boolean).join(" · ")}`);
  }
  const { tasks, outbox, terminals } = noderax;
  const waiting = outbox.waiting === 0 ? "outbox empty" : `${outbox.waiting} waiting in the outbox`;
  print(
    `  tasks        ${tasks.length} at work · ${waiting}${outbox.last_error === null ? "" : ` (${outbox.last_error})`}`,
  );
  for (const task of tasks.slice(0, 20)) {
    print(
      `    ${task.id.slice(0, 8)}  ${humanDuration(seconds(task.age_seconds)).padEnd(8)} ${task.type}  ${task.note}`,
    );
  }
  if (tasks.length > 20) print(`    … and ${tasks.length - 20} more`);
  if (terminals.length > 0) print(`  terminals    ${terminals.length} open`);
  for (const terminal of terminals.slice(0, 20)) {
    const idle = `idle ${humanDuration(seconds(terminal.idle_seconds))}`;
    print(
      `    ${terminal.id.slice(0, 8)}  ${humanDuration(seconds(terminal.age_seconds)).padEnd(8)} ${terminal.user}  ${idle}`,
    );
  }
}

function standingText(standing: string): string {
  if (standing === "ok") return paint.green("accepted");
  return standing === "not_enrolled" ? "not enrolled" : paint.yellow(standing);
}
