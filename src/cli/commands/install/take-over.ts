// What `install` does where another agent ran before: its rights end, its user moves out of the state directory, and of two
// identities the right one is kept.
import { dirname } from "node:path";
import { editConfig } from "../../../config/edit.ts";
import type { Config } from "../../../config/load.ts";
import type { OptionKey } from "../../../config/options.ts";
import { createHttp } from "../../../control/http.ts";
import { publicApi, withoutApiPrefix } from "../../../control/noderax-api.ts";
import { trustedAuthorities } from "../../../control/trust.ts";
import { beat } from "../../../identity/heartbeat.ts";
import { type Identity, readIdentity, writeIdentity } from "../../../identity/identity-file.ts";
import type { Transaction } from "../../../install/apply.ts";
import { type IdentityCheck, chooseIdentity, isSameIdentity } from "../../../install/credentials.ts";
import { goAgentFiles } from "../../../install/go-agent/take-over.ts";
import { isInState } from "../../../install/parts.ts";
import { CONFIG_DIRECTORY, PROGRAM_DIRECTORY, STATE_DIRECTORY, TASK_HOME } from "../../../install/places.ts";
import { runProgram } from "../../../install/service.ts";
import { moveHome } from "../../../install/user.ts";
import { AgentError } from "../../../lib/agent-error.ts";
import { findAccount } from "../../../platform/account.ts";
import { readHost } from "../../../platform/host.ts";
import { endGoAgent } from "../../root-checks.ts";
import { note, warn } from "../../ui/output.ts";
import type { Preparation } from "./prepare.ts";

/** Whether an installation is here that is not ours: its directories, or its user's home, say so. */
export function isTakeOver({ found, config }: Pick<Preparation, "found" | "config">): boolean {
  const isAnothers = [PROGRAM_DIRECTORY, CONFIG_DIRECTORY, STATE_DIRECTORY].some((path) => {
    const is = found.get(path);
    return is?.kind === "directory" && is.uid !== 0;
  });
  return isAnothers || isInState(findAccount(config.settings.task_user)?.home ?? "/");
}

/** With its service stopped. Everything can be taken back. */
export function takeOver(config: Config, changes: Transaction): void {
  const { state_file: stateFile, task_user: user } = config.settings;
  const paths = [...goAgentFiles(dirname(stateFile)), stateFile, dirname(stateFile)];
  for (const path of paths) changes.remember(path);
  for (const line of endGoAgent(config)) note(`  ${line}`);
  const home = findAccount(user)?.home ?? "/";
  if (!isInState(home)) return;
  const why = moveHome(user, TASK_HOME);
  if (why === undefined) {
    note(`  the home of ${user} is ${TASK_HOME} now`);
    changes.add(() => void moveHome(user, home));
  } else {
    warn(`the home of ${user} stays ${home}, beside the node's identity: ${why}`);
  }
}

const CARA_AGENT = "cara-agent.service";

/**
 * Stops a service of the Go `cara-agent`, and keeps it from the next boot: two agents would quarrel over the containers.
 * Returns false when none runs.
 */
export function stopCaraAgent({ planes }: Pick<Config, "planes">, changes: Transaction): boolean {
  const systemctl = (...args: string[]): number =>
    runProgram(["systemctl", "--quiet", ...args, CARA_AGENT]).code;
  if (!planes.includes("caravanserai") || systemctl("is-active") !== 0) return false;
  const atBoot = systemctl("is-enabled") === 0;
  changes.add(() => {
    if (atBoot) systemctl("enable");
    systemctl("start");
  });
  systemctl("disable", "--now");
  note(`  stopped and disabled ${CARA_AGENT}: this agent does its work`);
  return true;
}

/** Where configuration and identity file hold different identities, keeps the one that the control plane accepts. */
export async function settleCredentials(
  config: Config,
  changes: Transaction,
  signal: AbortSignal,
): Promise<void> {
  const { settings, origins } = config;
  const { node_id: nodeId, agent_token: agentToken, api_url: url, state_file: stateFile } = settings;
  if (nodeId === undefined || agentToken === undefined || url === undefined) return;
  const configured = { nodeId, agentToken };
  const stored = readIdentity(stateFile);
  if (stored === undefined || isSameIdentity(configured, stored)) return;
  const authorities = (): string => trustedAuthorities(settings.api_tls_ca_file);
  const api = publicApi(
    createHttp({ baseUrl: withoutApiPrefix(url), authorities }),
    settings.request_timeout,
  );
  const ask = async (identity: Identity): Promise<{ identity: Identity; check: IdentityCheck }> => {
    try {
      await beat(api, identity, readHost(), signal);
      return { identity, check: "accepted" };
    } catch (error) {
      const status = error instanceof AgentError ? error.status : undefined;
      return { identity, check: status === 401 || status === 404 ? "refused" : "unknown" };
    }
  };
  const chosen = chooseIdentity(await ask(configured), await ask(stored));
  if (chosen === undefined) {
    warn(
      `${stateFile} and the configuration hold different identities, and neither could be checked: both stay`,
    );
    return;
  }
  // The configuration was remembered when the settings were written.
  changes.remember(stateFile);
  writeIdentity(stateFile, chosen, new Date());
  const removed = new Map<OptionKey, undefined>();
  for (const key of ["node_id", "agent_token"] as const)
    if (origins.get(key)?.from === "file") removed.set(key, undefined);
  await editConfig({ path: config.savePath("node_id"), changes: removed });
  note(`  of two identities, that of node ${chosen.nodeId} is kept: the control plane accepts it`);
}
