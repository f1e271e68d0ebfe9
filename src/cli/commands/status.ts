// `status`: shows what the running agent does and what it waits for.
import { shortId } from "../../lib/text.ts";
import { type ServiceState, describeService, serviceState } from "../../install/service.ts";
import { stateDirectory } from "../../agent/agent.ts";
import { type Attempt, readUpdateRecord } from "../../install/update/state.ts";
import { AgentError, type ExitCode, exit } from "../../lib/agent-error.ts";
import { humanDuration, seconds } from "../../lib/duration.ts";
import { printableIn } from "../../lib/printable.ts";
import {
  type CaravanseraiStatus,
  type LocationDocument,
  type LoopOwner,
  type NoderaxStatus,
  type Status,
  loopOwner,
} from "../../agent/status.ts";
import { command } from "../command.ts";
import { configFlags, configFrom } from "../config-flags.ts";
import { whenRemoved } from "./gc.ts";
import { age, note, paint, print, printJson } from "../ui/output.ts";
import { asCalled } from "../program.ts";
import { runningAgent, settingsOfAgent } from "../running-agent.ts";

export default command({
  name: "status",
  description: "show what the running agent does and waits for",
  examples: ["status", "status --json"],
  args: { ...configFlags, json: { type: "boolean", description: "print one JSON document" } },
  async run({ args }): Promise<ExitCode> {
    const service = serviceState();
    const settings = configFrom(args).then(settingsOfAgent);
    const status = await settings.then(runningAgent).catch((error: unknown) => {
      if (service === undefined || !(error instanceof AgentError)) throw error;
      return error;
    });
    if (status instanceof AgentError) return showServiceAlone(service, status, args.json === true);
    const update = readUpdateRecord(stateDirectory(await settings)).attempt;
    if (args.json) printJson({ ...status, service: serviceDocument(service), update: update ?? null });
    else show(printableIn(status), service, update && printableIn(update));
    return exitOf(status);
  },
});

/**
 * Everybody may know how the service is; what the agent does, it tells its own user alone. Throws `why` for an agent that
 * should have answered.
 */
function showServiceAlone(service: ServiceState | undefined, why: AgentError, json: boolean): ExitCode {
  if (json) printJson({ service: serviceDocument(service), problem: why.message });
  else showService(service);
  const isForbidden = why.code === "config.permission" || why.code === "agent.forbidden";
  if (!isForbidden) throw why;
  note("What the agent does and waits for is shown to root:  sudo noderax-agent status");
  return service?.active === "active" ? exit.done : exit.failed;
}

/** Returns 3 without an identity, 6 when something does not work, else 0. */
function exitOf({ noderax, caravanserai, loops }: Status): ExitCode {
  if (noderax?.standing === "not_enrolled") return exit.notEnrolled;
  const isDegraded =
    (noderax !== null && noderax.standing !== "ok") ||
    loops.some((loop) => loop.consecutive_failures > 0) ||
    (caravanserai ?? undefined)?.projects.some(({ state }) => state === "failed" || state === "waiting");
  return isDegraded === true ? exit.degraded : exit.done;
}

function show(status: Status, service: ServiceState | undefined, update: Attempt | undefined): void {
  const memory = `${Math.round(status.rss_bytes / 1e6)} MB`;
  const up = humanDuration(seconds(status.uptime_seconds));
  print(`noderax-agent ${status.version} · pid ${status.pid} · up ${up} · ${memory}`);
  // One that runs beside the service, as in `dev`, is not it.
  if (service?.pid === status.pid) showService(service);
  if (update !== undefined) print(`update         ${updateText(update)}`);
  for (const warning of status.warnings) print(`${paint.yellow("!")} ${warning}`);
  if (status.noderax !== null) showNoderax(status.noderax, loopsOf("noderax", status));
  if (status.caravanserai) showCaravanserai(status.caravanserai, loopsOf("caravanserai", status));
  const ownLoops = loopsOf("agent", status);
  if (ownLoops.length > 0) print();
  if (ownLoops.length > 0) print("agent");
  for (const loop of ownLoops) showLoop(loop);
}

const loopsOf = (owner: LoopOwner, { loops }: Pick<Status, "loops">): Status["loops"] =>
  loops.filter((loop) => loopOwner(loop) === owner);

/** Lines of one kind (tasks, projects); the rest is counted. */
const LINES_MAX = 20;

function showLoop({
  name,
  note,
  last_success,
  last_error,
  consecutive_failures,
}: Status["loops"][number]): void {
  const last = last_success === null ? "" : `last success ${age(Date.parse(last_success))} ago`;
  // Some loops already name the error in their note.
  const why = note.includes(last_error?.message ?? "") ? "" : `: ${last_error?.message}`;
  const failures = consecutive_failures > 0 ? paint.red(`failed ${consecutive_failures}×${why}`) : "";
  print(`  ${name.padEnd(12)} ${[note, last, failures].filter(Boolean).join(" · ")}`);
}

function showNoderax(noderax: NonNullable<Status["noderax"]>, loops: Status["loops"]): void {
  print();
  print(`noderax        ${standingText(noderax.standing).padEnd(12)} ${noderax.api_url}`);
  print(`  node         ${noderax.node_id ?? asCalled("none: enroll with  noderax-agent enroll")}`);
  for (const loop of loops) showLoop(loop);
  const { tasks, outbox, terminals, protection, location } = noderax;
  if (location) print(`  location     ${locationText(location)}`);
  if (protection) showProtection(protection);
  const waiting = outbox.waiting === 0 ? "outbox empty" : `${outbox.waiting} waiting in the outbox`;
  print(
    `  tasks        ${tasks.length} at work · ${waiting}${outbox.last_error === null ? "" : ` (${outbox.last_error})`}`,
  );
  for (const task of tasks.slice(0, LINES_MAX)) {
    print(
      `    ${shortId(task.id)}  ${humanDuration(seconds(task.age_seconds)).padEnd(8)} ${task.type}  ${task.note}`,
    );
  }
  if (tasks.length > LINES_MAX) print(`    … and ${tasks.length - LINES_MAX} more`);
  if (terminals.length > 0) print(`  terminals    ${terminals.length} open`);
  for (const terminal of terminals.slice(0, LINES_MAX)) {
    const idle = `idle ${humanDuration(seconds(terminal.idle_seconds))}`;
    print(
      `    ${shortId(terminal.id)}  ${humanDuration(seconds(terminal.age_seconds)).padEnd(8)} ${terminal.user}  ${idle}`,
    );
  }
}

const REPORTED: Readonly<Record<string, string>> = {
  waiting: "not reported yet",
  refused: "not reported: this control plane does not take it",
};

/** Words where the node stands, who says so, and whether the control plane knows it. */
export function locationText({ region, zone, source, state }: LocationDocument): string {
  const place = zone === null || zone === "" ? region : `${region}, ${zone}`;
  const by = { cloud_metadata: "from the cloud", manual: "configured", ipinfo: "from ipinfo.io" }[source];
  return [place, by ?? source, REPORTED[state] ?? "reported"].join(" · ");
}

function showProtection({ in_force: inForce, missing }: NonNullable<NoderaxStatus["protection"]>): void {
  print(`  protection   ${inForce.join(" · ") || "none"}`);
  for (const text of missing) print(`    ${paint.yellow("!")} ${text}`);
}

function showCaravanserai(plane: CaravanseraiStatus, loops: Status["loops"]): void {
  const { state, projects, orphans, reports } = plane;
  const word = state === "Ready" ? paint.green(state) : paint.yellow(state ?? "unknown");
  print();
  print(`caravanserai   ${word.padEnd(12)} ${plane.server_url}`);
  for (const loop of loops) {
    // A line only for loops with a note or failures; some are shown elsewhere.
    const isWorth = loop.note !== "" || loop.consecutive_failures > 0;
    if (!OWN_LINE.includes(loop.name) && isWorth) showLoop(loop);
  }
  if (plane.draining_since !== null)
    print(`  draining     since ${age(Date.parse(plane.draining_since))}: no new projects come here`);
  print(`  docker       ${dockerText(plane.docker)}`);
  if (plane.listener) showListener(plane.listener);
  if (plane.ingress) {
    const { routes, failed } = plane.ingress;
    const hosts = `${routes} host ${routes === 1 ? "name" : "names"}`;
    print(
      `  ingress      ${whereText(plane.ingress)} · ${hosts}${failed === 0 ? "" : ` · ${failed} requests failed`}`,
    );
  }
  print(`  projects     ${counted(projects)}`);
  const unwell = projects.filter(({ state }) => state !== "running");
  for (const { name, state, note } of unwell.slice(0, LINES_MAX))
    print(`    ${name.padEnd(10)} ${state}${note === "" ? "" : `: ${note}`}`);
  if (unwell.length > LINES_MAX) print(`    … and ${unwell.length - LINES_MAX} more`);
  if (reports.waiting > 0)
    print(
      `  reports      ${reports.waiting} waiting${reports.last_error === null ? "" : ` (${reports.last_error})`}`,
    );
  for (const orphan of orphans.slice(0, LINES_MAX)) {
    const { name, reason, containers } = orphan;
    print(`  on no list   ${name}: ${containers} containers, ${reason}; removed ${whenRemoved(orphan)}`);
  }
  if (orphans.length > LINES_MAX)
    print(`    … and ${orphans.length - LINES_MAX} more: ${asCalled("noderax-agent gc")}`);
}

const OWN_LINE = ["docker", "listener", "ingress"];

function showListener(listener: NonNullable<CaravanseraiStatus["listener"]>): void {
  const { tls, tunnels, logs, refused, last_refusal: last, warnings } = listener;
  const parts = [
    whereText(listener),
    tls ? "TLS" : "",
    tunnels === 0 ? "" : `${tunnels} ${tunnels === 1 ? "tunnel" : "tunnels"}`,
    logs === 0 ? "" : `${logs} ${logs === 1 ? "log is" : "logs are"} read`,
    refused === 0 ? "" : `${refused} refused`,
  ];
  print(`  listener     ${parts.filter(Boolean).join(" · ")}`);
  if (last !== null)
    print(`    last refused ${last.address}, ${age(Date.parse(last.at))} ago: ${refusalText(last)}`);
  for (const warning of warnings) print(`    ${paint.yellow("!")} ${warning}`);
}

/** Words why a request was refused, with the setting that would allow it. */
function refusalText({ address, why }: { address: string; why: string }): string {
  if (why === "address") return `not in listen_allow (listen_allow=${address} would allow it)`;
  if (why === "user") return "neither root nor in Docker's group (listen_local=everybody would allow it)";
  return why;
}

const whereText = ({ address, trouble }: { address: string | null; trouble: string | null }): string =>
  address ?? (trouble === null ? "opening" : paint.red(trouble));

function dockerText({ version, trouble }: CaravanseraiStatus["docker"]): string {
  if (trouble !== null) return paint.red(trouble);
  return version === null ? paint.yellow("connecting") : `Engine ${version}`;
}

/** Counts projects by state: "4 running · 1 waiting". */
function counted(projects: CaravanseraiStatus["projects"]): string {
  if (projects.length === 0) return "none";
  const counts = new Map<string, number>();
  for (const { state } of projects) counts.set(state, (counts.get(state) ?? 0) + 1);
  const order = ["running", "working", "waiting", "failed", "removing", "removed", "unknown"];
  return [...counts]
    .toSorted(([a], [b]) => order.indexOf(a) - order.indexOf(b))
    .map(([state, count]) => `${count} ${state}`)
    .join(" · ");
}

function standingText(standing: string): string {
  if (standing === "ok") return paint.green("accepted");
  return standing === "not_enrolled" ? "not enrolled" : paint.yellow(standing);
}

/** Prints the line about the service; nothing when it is not installed. */
function showService(state: ServiceState | undefined): void {
  if (state === undefined) return;
  const text = describeService(state);
  print(`service        ${state.active === "active" ? text : paint.yellow(text)}`);
}

/** Returns one line about the last update, or the one that goes on. Pure. */
export function updateText({ from, to, phase, note, outcome, reason, changedAt }: Attempt): string {
  const why = reason === undefined || reason === "" ? "" : `: ${reason}`;
  const way = `${from} → ${to}`;
  if (phase !== "over") return paint.yellow(`${way} ${phase}${note === "" ? why : `: ${note}`}`);
  const ago = `${age(Date.parse(changedAt))} ago`;
  return outcome === "confirmed"
    ? `${way} confirmed, ${ago}`
    : paint.yellow(`${way} ${outcome}, ${ago}${why}`);
}

/** For `status --json`. */
const serviceDocument = (state: ServiceState | undefined): object | null =>
  state === undefined
    ? null
    : {
        active: state.active,
        since: state.since || null,
        enabled: state.isEnabled,
        restarts: state.restarts,
        last_result: state.result || null,
        last_exit_code: state.exitStatus,
      };
