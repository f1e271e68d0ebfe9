// Chooses the account commands run as, and collects the reasons to refuse root.
import { AgentError, exit } from "../lib/agent-error.ts";
import type { Settings } from "../config/options.ts";
import type { RootVetoes } from "../identity/root-access.ts";
import { type Account, currentAccount, findAccount, isRoot } from "../platform/account.ts";
import type { Log } from "../platform/log.ts";
import type { ServiceRun } from "../platform/service.ts";
import { ROOT_SURFACES, allows } from "../protocol/noderax/root-access.ts";
import { tlsVeto } from "./clear-text.ts";

/** Returns the reasons to refuse root, by surface. Features ask through `RootAccess`. */
export function rootVetoes(settings: Settings): RootVetoes {
  const all = isRoot()
    ? tlsVeto(settings.api_url, settings.require_tls)
    : `the agent runs as ${currentAccount().name}, not as root`;
  if (all !== undefined) return { operational: all, task: all, terminal: all };
  const tasks = "the owner of this machine forbids root tasks (allow_root_tasks)";
  const terminals = "the owner of this machine forbids root terminals (allow_root_terminals)";
  const most = `the owner of this machine allows no more root than "${settings.root_access_max}" (root_access_max)`;
  const beyond = ROOT_SURFACES.filter((surface) => !allows(settings.root_access_max, surface));
  return {
    ...Object.fromEntries(beyond.map((surface) => [surface, most])),
    ...(settings.allow_root_tasks ? {} : { operational: tasks, task: tasks }),
    ...(settings.allow_root_terminals ? {} : { terminal: terminals }),
  };
}

/**
 * Returns a warning when tasks run as the user of the agent, so that nothing separates them, or as root; else
 * nothing.
 */
export function sharedAccountWarnings(settings: Pick<Settings, "task_user">): string[] {
  const { name } = currentAccount();
  if (!isRoot())
    return [
      `the agent runs as ${name}, and so do its tasks and terminals: each of them can read the node's identity and state, use its control socket and stop it. Run the agent as root: it runs them as task_user`,
    ];
  return findAccount(settings.task_user)?.uid === 0
    ? [`task_user is ${settings.task_user}: tasks and terminals run as root, whatever the root profile says`]
    : [];
}

/** The warning for a service whose stop ends the tasks: each restart of the agent would fail them. */
export const endingServiceWarning = ({ name }: ServiceRun): string =>
  `tasks run inside ${name}, and systemd ends them whenever it stops or restarts (KillMode). Run the agent as root: \`systemctl edit ${name}\`, there [Service] User=root Group=root; or at least KillMode=process`;

/**
 * Returns the account for tasks and terminals without root. Throws "config.task_user" when neither it nor
 * nobody exists.
 */
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
