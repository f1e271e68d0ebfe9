// Starts the updater in a transient unit of its own: it outlives the agent that it is about to restart.
import { dirname, join } from "node:path";
import { AgentError } from "../lib/agent-error.ts";
import { SYSTEM_PATH } from "./account.ts";
import { writeFileAtomic } from "./atomic-file.ts";
import { ownCommand } from "./build.ts";
import { proxyEnvironment } from "./proxy-environment.ts";
import { escapeVariables, systemdRun } from "./systemd.ts";

/** Whoever asks: two updaters at once would only refuse each other. */
const UPDATER_UNIT = "noderax-agent-updater";

export interface UpdaterSettings {
  readonly state_file: string;
  readonly update_channel_url?: string | undefined;
  readonly update_allow: string;
}

/**
 * Resolves when systemd has accepted `noderax-agent update …`, or when it runs already. The updater has the agent's settings and
 * proxies, from a 0600 file: a proxy's URL may hold a password. Throws "update.service".
 */
export async function startUpdater(args: readonly string[], settings: UpdaterSettings): Promise<void> {
  const run = systemdRun();
  if (run === undefined)
    throw new AgentError("update.service", "the agent can update itself only as root, and under systemd");
  const environment = join(dirname(settings.state_file), "update.env");
  writeFileAtomic(environment, environmentText(settings, process.env));
  const child = Bun.spawn(
    [
      run,
      "--quiet",
      "--no-block",
      "--collect",
      `--unit=${UPDATER_UNIT}`,
      "--description=Updates the Noderax agent",
      "--working-directory=/",
      `--property=EnvironmentFile=${environment.replaceAll("%", "%%")}`,
      "--property=UMask=0077",
      "--",
      ...[...ownCommand(), "update", ...args].map(escapeVariables),
    ],
    { env: { PATH: SYSTEM_PATH }, stdio: ["ignore", "ignore", "pipe"] },
  );
  const message = await child.stderr.text();
  if ((await child.exited) === 0 || /already (exists|loaded)|was already loaded/.test(message)) return;
  throw new AgentError("update.service", `systemd-run: ${message.trim() || `exit code ${child.exitCode}`}`);
}

/** Lines for EnvironmentFile=. Pure. */
function environmentText(
  settings: UpdaterSettings,
  env: Readonly<Record<string, string | undefined>>,
): string {
  const values = {
    NODERAX_CONFIG_FILE: env["NODERAX_CONFIG_FILE"],
    NODERAX_STATE_FILE: settings.state_file,
    NODERAX_UPDATE_CHANNEL_URL: settings.update_channel_url,
    NODERAX_UPDATE_ALLOW: settings.update_allow,
    SSL_CERT_FILE: env["SSL_CERT_FILE"],
    NODE_EXTRA_CA_CERTS: env["NODE_EXTRA_CA_CERTS"],
  };
  const lines = Object.entries(values).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}="${value.replaceAll(/["\\$`]/g, "\\$&")}"\n`],
  );
  return lines.join("") + (proxyEnvironment(env) ?? "");
}
