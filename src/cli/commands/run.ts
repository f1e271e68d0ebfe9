// `run`: the agent in the foreground, as a service unit starts it.
import { type Agent, startAgent } from "../../agent/agent.ts";
import { AgentError, type ExitCode, exit } from "../../lib/agent-error.ts";
import { type Duration, seconds } from "../../lib/duration.ts";
import type { Config } from "../../config/load.ts";
import { version } from "../../platform/build.ts";
import { type Log, createLog } from "../../platform/log.ts";
import { STDOUT, isTerminal, outliveReaders } from "../../platform/stdio.ts";
import { type ServiceManager, serviceManager } from "../../platform/notify.ts";
import { sharedAccountWarnings } from "../../agent/accounts.ts";
import { hangingAfter, statusLine, watchLoops } from "../../agent/watchdog.ts";
import { command } from "../command.ts";
import { configFlags, configFrom } from "../config-flags.ts";
import { type Interruption, interruption } from "../interruption.ts";
import { announceAgent } from "../running-agent.ts";
import { endGoAgent, placeWarnings, secureExecutable } from "../root-checks.ts";
import { checkStateDirectory } from "../state-directory.ts";

export default command({
  name: "run",
  description: "run the agent in the foreground (what happens without a command)",
  examples: ["run", "run --log-level debug", "run --config /etc/noderax-agent/config.json"],
  args: { ...configFlags },
  async run({ args }): Promise<ExitCode> {
    outliveReaders();
    // First: a signal during the start must stop the agent in order, too.
    const interrupted = interruption();
    const manager = await serviceManager();
    const cautions = secureExecutable();
    const config = await configFrom(args, { requireFile: true, takeOver: true });
    const log = logFor(config);
    for (const warning of config.warnings) log.warn("config", warning);
    if (config.planes.length === 0) throw notConfigured();
    checkStateDirectory(config.settings);
    cautions.push(...placeWarnings(config.settings), ...endGoAgent(config));
    if (config.planes.includes("noderax")) cautions.push(...sharedAccountWarnings(config.settings));
    for (const warning of cautions) log.warn("agent", warning);
    if (interrupted.signal.aborted) return interrupted.code;
    const agent = await startAgent({
      settings: config.settings,
      planes: config.planes,
      nodeNameChosen: isChosen(config),
      log,
      warnings: [...config.warnings, ...cautions],
      signal: interrupted.signal,
    }).catch((error: unknown) => {
      if (interrupted.signal.aborted) return undefined;
      throw error;
    });
    if (agent === undefined) return interrupted.code;
    using _announced = announceAgent(config.settings);
    const stopped = stopOnSignal(agent, interrupted, config.settings.shutdown_timeout, log, manager);
    // The URL in use, with its scheme: the configured text may differ.
    const server_url = config.planes.includes("caravanserai") ? config.settings.server_url : undefined;
    log.info("agent", `noderax-agent ${version} started`, { server_url });
    manager.notify(`READY=1\nSTATUS=${statusLine(agent.status())}`);
    const limit = hangingAfter(config.settings.request_timeout);
    const watched = watchLoops(agent, manager, limit, interrupted.signal);
    // An agent that cannot go on must exit, so that its service manager, or a person, starts it again.
    return await Promise.race([stopped, agent.ended.then(() => stopped), watched.then(() => stopped)]);
  },
});

/** Creates the log: text on a terminal, JSON into a pipe, unless `log_format` says otherwise. */
function logFor({ settings: { log_format, log_level } }: Pick<Config, "settings">): Log {
  const automatic = isTerminal(STDOUT) ? "human" : "json";
  return createLog({ level: log_level, format: log_format === "auto" ? automatic : log_format });
}

/**
 * Stops the agent on a signal: within `grace` after SIGTERM and SIGHUP, within 2 s after Ctrl-C, where a person waits.
 * The next start continues from disk what was not finished. Resolves with the exit code.
 */
async function stopOnSignal(
  agent: Agent,
  { code, name }: Interruption,
  grace: Duration,
  log: Log,
  manager: ServiceManager,
): Promise<ExitCode> {
  const left = await code;
  manager.notify("STOPPING=1\nSTATUS=stopping; running tasks and containers go on");
  log.info("agent", `${name()}: stopping; running tasks and containers go on`);
  await agent.stop(name() === "SIGINT" ? Math.min(grace, seconds(2)) : grace);
  log.info("agent", "stopped");
  return left;
}

const isChosen = ({ origins }: Config): boolean =>
  (origins.get("node_name")?.from ?? "default") !== "default";

const notConfigured = (): AgentError =>
  new AgentError(
    "config.no_plane",
    "neither api_url nor server_url is set: this machine is not connected to a control plane",
    {
      hint: [
        "Enroll it:            noderax-agent enroll",
        "Or run containers:    noderax-agent config set server_url http://cara.example.com:8080",
        "Or try it here:       noderax-agent dev",
      ],
      exit: exit.notEnrolled,
    },
  );
