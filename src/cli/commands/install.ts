// `install`: makes this machine run the agent as a service: files, settings, enrollment, unit, start, and the wait until it
// works. What ran before goes on where it fails.
import { readlinkSync as readlink } from "node:fs";
import type { Config } from "../../config/load.ts";
import { readToken } from "../bootstrap-token.ts";
import { command } from "../command.ts";
import { configFlags } from "../config-flags.ts";
import { byInstaller } from "../program.ts";
import { interruption } from "../interruption.ts";
import { note, paint, print, warn } from "../ui/output.ts";
import { knownIdentity } from "../../identity/identity-file.ts";
import { type Transaction, transaction } from "../../install/apply.ts";
import { type InstallStep, describeStep, recordInstall } from "../../install/plan.ts";
import { readManifest, writeManifest } from "../../install/manifest.ts";
import { STATE_DIRECTORY, places } from "../../install/places.ts";
import { manage, nextOf, serviceState } from "../../install/service.ts";
import { AgentError, type ExitCode, exit, hasCode, messageOf } from "../../lib/agent-error.ts";
import { isRoot } from "../../platform/account.ts";
import { compiled, version } from "../../platform/build.ts";
import { emailOfFlag, enrollMachine } from "./enroll.ts";
import { whyNotHealthy } from "../service-wait.ts";
import { type Preparation, prepare } from "./install/prepare.ts";
import { createInstallReport } from "./install/report.ts";
import { configure, describeSettings } from "./install/settings.ts";
import { isTakeOver, settleCredentials, stopCaraAgent, takeOver } from "./install/take-over.ts";

export default command({
  name: "install",
  description: "run the agent as a service of this machine, from its boot on",
  examples: [
    "install",
    "install --api-url https://api.example.com --email ops@example.com",
    "install --api-url https://api.example.com --bootstrap-token-file /run/token --non-interactive",
    "install --server-url http://cara.example.com:8080",
    "install --dry-run",
  ],
  args: {
    ...configFlags,
    email: { type: "string", description: "e-mail of the person who approves", valueHint: "ADDRESS" },
    hostname: { type: "string", description: "enroll under this name", valueHint: "NAME" },
    "bootstrap-token": {
      type: "string",
      description: "token of an install command; - reads it from stdin",
      valueHint: "TOKEN",
    },
    "bootstrap-token-file": { type: "string", description: "read that token from a file", valueHint: "FILE" },
    "non-interactive": { type: "boolean", description: "ask nothing: fail where something is missing" },
    start: {
      type: "boolean",
      default: true,
      description: "--no-start only installs and enables the service",
    },
    "dry-run": { type: "boolean", description: "print what would be done and do nothing" },
  },
  async run({ args }): Promise<ExitCode | void> {
    requireInstallable();
    const prepared = await prepare(args);
    for (const { path, why } of prepared.plan.refused) warn(`${path} is left as it is: ${why}`);
    if (args.email !== undefined) emailOfFlag(args.email);
    const hasAnswer = [args.email, args["bootstrap-token"], args["bootstrap-token-file"]].some(isGiven);
    if (args["non-interactive"]) requireAnswers(prepared.config, hasAnswer);
    if (args["dry-run"]) return dryRun(prepared, args.start);
    const { signal } = interruption();
    const token = await readToken(args);
    const report = createInstallReport(prepared.config, token, signal);
    const changes = transaction();
    const service = { isInterrupted: false };
    // Added first, so that it is done last: the service of before needs its files.
    changes.add(() => {
      manage("reload", prepared.init);
      if (service.isInterrupted) manage("restart", prepared.init);
    });
    try {
      await report.tell("agent_bootstrapping", 88, "Installing the agent.");
      await putFiles(prepared, changes);
      const config = await prepared.reload();
      const enrolled = await enrollIfWanted(config, { ...args, token }, changes, signal);
      const wanted = { enrolled, start: args.start, service };
      return await bringUp(await prepared.reload(), prepared, changes, wanted, signal);
    } catch (error) {
      const failures = changes.undo();
      for (const failure of failures) warn(`could not be taken back: ${failure}`);
      // A record that says "failed" stays so; an agent that was left to try reports itself when it works.
      if (!hasCode(error, "install.waiting")) await report.tell("failed", 88, messageOf(error));
      throw hasCode(error, "aborted") ? interrupted() : error;
    }
  },
});

const isGiven = (flag: string | undefined): boolean => flag !== undefined;

const interrupted = (): AgentError =>
  new AgentError(
    "aborted",
    "interrupted: what was done is taken back; an enrollment that was begun stays open",
    {
      hint: byInstaller() ? "Go on with it: run install.sh again." : "Go on with it:  noderax-agent install",
      exit: exit.interrupted,
    },
  );

function requireInstallable(): void {
  if (!compiled)
    throw new AgentError(
      "install.source",
      "only the executable can be installed: make it with npm run build",
      {
        hint: "Then:  sudo dist/noderax-agent install",
      },
    );
  if (!isRoot())
    throw new AgentError("install.root", "install changes the system: it must run as root", {
      hint: "Run it with sudo:  sudo noderax-agent install",
      exit: exit.refused,
    });
}

/** Without a terminal, everything an enrollment needs must be given. */
function requireAnswers({ settings }: Pick<Config, "settings">, hasAnswer: boolean): void {
  const { api_url: apiUrl, server_url: serverUrl } = settings;
  if (apiUrl === undefined && serverUrl === undefined)
    throw usage("neither --api-url nor --server-url is given, and the configuration has none");
  if (apiUrl === undefined || knownIdentity(settings) !== undefined) return;
  if (!hasAnswer) throw usage("an enrollment needs --email, --bootstrap-token-file or --bootstrap-token");
}

const usage = (message: string): AgentError =>
  new AgentError("cli.usage", message, {
    exit: exit.usage,
    hint: byInstaller() ? "install.sh -h lists the flags." : "See:  noderax-agent install --help",
  });

function dryRun({ plan, settings, config, init, before }: Preparation, start: boolean): void {
  const lines = [...plan.steps.map(describeStep), ...describeSettings(settings)];
  const { api_url: apiUrl, server_url: serverUrl } = config.settings;
  const isToEnroll = (apiUrl !== undefined || serverUrl === undefined) && identityText(config) === undefined;
  if (isToEnroll) lines.push(`enroll this machine at ${apiUrl ?? "a control plane that is asked for"}`);
  if (init !== "none" && serviceState(init)?.isEnabled !== true) lines.push("start the service at boot");
  const isRunning = before?.active === "active";
  const isChanged = lines.length > 0 || runsDeleted(before?.pid);
  if (init !== "none" && start && (isChanged || !isRunning))
    lines.push(`${isRunning ? "restart" : "start"} the service, and wait until it works`);
  if (lines.length === 0) note("nothing would change");
  for (const line of lines) print(line);
}

/** Undefined without an identity, or where it cannot be read, which the enrollment says. */
function identityText({ settings }: Pick<Config, "settings">): string | undefined {
  try {
    const identity = knownIdentity(settings);
    return identity && JSON.stringify(identity);
  } catch {
    return undefined;
  }
}

async function putFiles({ plan, settings, ...rest }: Preparation, changes: Transaction): Promise<void> {
  const apply = (step: InstallStep): void => {
    note(`  ${describeStep(step)}`);
    changes.apply(step);
  };
  const isOfRecord = ({ part }: InstallStep): boolean => part.path === STATE_DIRECTORY;
  plan.steps.filter(isOfRecord).forEach(apply);
  // Written before the parts are made: after a kill, the next installation reads here that they are ours to remove.
  changes.remember(places.manifest);
  const manifest = recordInstall(rest.parts, rest.found, readManifest());
  if (JSON.stringify(manifest) !== JSON.stringify(readManifest())) writeManifest(manifest);
  plan.steps.filter((step) => !isOfRecord(step)).forEach(apply);
  for (const line of describeSettings(settings)) note(`  ${line}`);
  await configure(settings, changes);
}

/** Returns whether the machine has another identity by now. A token that comes with a second run is not used up. */
async function enrollIfWanted(
  config: Config,
  args: {
    readonly email?: string | undefined;
    readonly hostname?: string | undefined;
    readonly token: string | undefined;
  },
  changes: Transaction,
  signal: AbortSignal,
): Promise<boolean> {
  const isContainersOnly = config.settings.api_url === undefined && config.settings.server_url !== undefined;
  if (isContainersOnly && args.token === undefined && args.email === undefined) return false;
  const before = identityText(config);
  await settleCredentials(config, changes, signal);
  if (args.token !== undefined || before === undefined)
    await enrollMachine(config, { ...args, isToStart: false }, signal);
  return before !== identityText(config);
}

/** Enables and starts the service where something has changed or it does not run, and waits until it works. */
async function bringUp(
  config: Config,
  prepared: Preparation,
  changes: Transaction,
  {
    enrolled,
    start,
    service,
  }: {
    readonly enrolled: boolean;
    readonly start: boolean;
    /** `isInterrupted` is set before a running service is touched. */
    readonly service: { isInterrupted: boolean };
  },
  signal: AbortSignal,
): Promise<ExitCode | void> {
  const { init, plan, settings, before } = prepared;
  if (init === "none") {
    changes.commit();
    return runByHand(settings.path);
  }
  manage("reload", init);
  if (before?.isEnabled !== true) {
    manage("enable", init);
    changes.add(() => manage("disable", init));
  }
  const isChanged = plan.steps.length > 0 || settings.changed.size > 0 || enrolled;
  const isRunning = before?.active === "active";
  if (!start) {
    changes.commit();
    print(`${paint.green("✓")} installed, and started at the next boot or with:  noderax-agent start`);
    return;
  }
  if (isRunning && !isChanged && !runsDeleted(before?.pid)) {
    changes.commit();
    print(`${paint.green("✓")} installed already, and nothing has changed`);
    return;
  }
  service.isInterrupted = isRunning;
  if (isTakeOver(prepared)) {
    manage("stop", init);
    takeOver(config, changes);
  }
  const replacesCaraAgent = init === "systemd" && stopCaraAgent(config, changes);
  // What is taken back must not go on running without its files.
  if (!isRunning) changes.add(() => manage("stop", init));
  const why = await startAndWait(config, isRunning, signal);
  if (why !== undefined && (isRunning || replacesCaraAgent)) {
    // Stopped first: its files are about to be exchanged.
    manage("stop", init);
    throw new AgentError("install.unhealthy", `the new agent does not work: ${why}`, {
      hint: "What ran before runs again. See why:  noderax-agent logs --agent --tail 50",
    });
  }
  changes.commit();
  if (why === undefined) return tellWorks(config, settings.path);
  throw new AgentError("install.waiting", `installed and started, but ${why}`, {
    hint: [nextOf(serviceState(init)), "Its log:  noderax-agent logs --agent --tail 50"],
    exit: exit.degraded,
  });
}

async function startAndWait(
  config: Config,
  isRunning: boolean,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    manage(isRunning ? "restart" : "start");
  } catch (error) {
    return messageOf(error);
  }
  return whyNotHealthy(config, signal);
}

/** The executable it runs was replaced, by an installer that was cut short. */
function runsDeleted(pid: number | undefined): boolean {
  try {
    return pid !== undefined && readlink(`/proc/${pid}/exe`).endsWith(" (deleted)");
  } catch {
    return false;
  }
}

function runByHand(config: string): void {
  print(
    `${paint.green("✓")} installed. This machine has neither systemd nor OpenRC: run the agent in the foreground,`,
  );
  print(`  under a supervisor of yours:  NODERAX_CONFIG_FILE=${config} ${places.program} run`);
}

function tellWorks({ settings, planes }: Config, config: string): void {
  const where = planes.map((plane) => (plane === "noderax" ? settings.api_url : settings.server_url));
  print(
    `${paint.green("✓")} noderax-agent ${version} runs as a service and is online at ${where.join(" and ")}`,
  );
  print(`  Look at it:       noderax-agent status`);
  print(`  Its log:          noderax-agent logs --agent -f`);
  print(`  Change settings:  noderax-agent config set log_level debug --restart   (${config})`);
}
