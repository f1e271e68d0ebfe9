// Whom commands run as on this machine, and for what its owner gives no root.
import { AgentError, exit } from "../lib/agent-error.ts";
import type { Settings } from "../config/options.ts";
import type { RootVetoes } from "../identity/root-access.ts";
import { type Account, currentAccount, findAccount, isRoot } from "../platform/account.ts";
import type { Log } from "../platform/log.ts";
import { tlsVeto } from "./clear-text.ts";

/** For what this machine gives no root, and why: every feature that needs root asks here, through `RootAccess`. */
export function rootVetoes(settings: Settings): RootVetoes {
  const all = isRoot()
    ? tlsVeto(settings.api_url, settings.require_tls)
    : `the agent runs as ${currentAccount().name}, not as root`;
  if (all !== undefined) return { operational: all, task: all, terminal: all };
  const tasks = "the owner of this machine forbids root tasks (allow_root_tasks)";
  const terminals = "the owner of this machine forbids root terminals (allow_root_terminals)";
  return {
    ...(settings.allow_root_tasks ? {} : { operational: tasks, task: tasks }),
    ...(settings.allow_root_terminals ? {} : { terminal: terminals }),
  };
}

/** Whom tasks and terminals run as: a root agent never runs them as root by itself. */
export function unprivilegedAccount(
  settings: Settings,
  log: Log,
): { account: Account; warnings: readonly string[] } {
  if (!isRoot()) return { account: currentAccount(), warnings: [] };
  const wanted = findAccount(settings.task_user);
  if (wanted !== undefined) return { account: wanted, warnings: [] };
  const nobody = findAccount("nobody");
  if (nobody === undefined) {
    throw new AgentError(
      "config.task_user",
      `task_user: there is no user "${settings.task_user}" on this machine`,
      {
        hint: `Create it:  useradd --system --create-home ${settings.task_user}`,
        exit: exit.usage,
      },
    );
  }
  const text = `user ${settings.task_user} does not exist, tasks run as nobody; create it with: useradd --system --create-home ${settings.task_user}`;
  log.warn("agent", text);
  return { account: nobody, warnings: [text] };
}
