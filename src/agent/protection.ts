// Finds out once how this machine can isolate tasks and terminals, decides by the settings, and reports it in
// `status`.
import type { Settings } from "../config/options.ts";
import { type Account, type Runner, currentAccount, isRoot, runnerFor } from "../platform/account.ts";
import {
  type View,
  namespaceBoundsProcesses,
  originalOpenFiles,
  whyNoPrivateView,
} from "../platform/isolation.ts";
import { attachingSystemd, tryInUnit } from "../platform/attached-unit.ts";
import { TASKS_SLICE, systemdRun } from "../platform/systemd.ts";
import { type TrialRunner, tryHere } from "../platform/trial.ts";
import type { ProtectionStatus } from "./status.ts";

/** Runners for commands without and with root. */
export interface Runners {
  readonly task: Runner;
  readonly root: Runner;
}

export interface Protection {
  readonly taskRunners: Runners;
  readonly terminalRunners: Runners;
  /** Resolves with what a command may see of other processes, once it is known what this machine can do. */
  readonly view: (asRoot: boolean) => Promise<View>;
  readonly openFiles: number | undefined;
  status(): ProtectionStatus;
}

type ProtectionSettings = Pick<Settings, "task_isolation" | "task_allow_setuid" | "task_pids_max">;

/** Returns the runners of tasks. Throws "account.no_means" when root cannot become `account`. */
export const taskRunnersOf = (
  { task_allow_setuid: mayGain }: Pick<Settings, "task_allow_setuid">,
  account: Account,
): Runners => ({ task: runnerFor(account, mayGain), root: runnerFor(currentAccount()) });

/**
 * Starts to find out what this machine can do. Throws "account.no_means" when root cannot become `account`.
 */
export function createProtection(settings: ProtectionSettings, account: Account): Protection {
  const taskRunners = taskRunnersOf(settings, account);
  const wanted = settings.task_isolation;
  let unavailable: string | undefined = isRoot() ? undefined : "the agent does not run as root";
  const known =
    wanted === "off" || unavailable !== undefined
      ? Promise.resolve()
      : whyNoPrivateView(placeOfCommands()).then((why) => void (unavailable = why));
  return {
    taskRunners,
    terminalRunners: { task: runnerFor(account), root: taskRunners.root },
    openFiles: originalOpenFiles(),
    async view(asRoot) {
      await known;
      const isRoots = asRoot || account.uid === 0;
      return unavailable === undefined && isIsolated(wanted, isRoots) ? "private" : "shared";
    },
    status: () =>
      protectionStatus({
        wanted,
        unavailable,
        isTaskRoot: account.uid === 0,
        allowSetuid: settings.task_allow_setuid,
        mayGain: taskRunners.task.mayGain,
        hasUnits: systemdRun() !== undefined,
        processes: settings.task_pids_max,
        kernelBounds: namespaceBoundsProcesses(),
      }),
  };
}

/** Tasks and terminals run in transient units where they can: those have capabilities that our own unit lacks. */
function placeOfCommands(): TrialRunner {
  const systemd = attachingSystemd();
  return systemd === undefined ? tryHere : tryInUnit(systemd, TASKS_SLICE);
}

const isIsolated = (wanted: ProtectionSettings["task_isolation"], asRoot: boolean): boolean =>
  wanted === "all" || (wanted === "auto" && !asRoot);

export interface ProtectionFacts {
  readonly wanted: ProtectionSettings["task_isolation"];
  /** Why private views do not work here; undefined where they do. */
  readonly unavailable: string | undefined;
  /** The task user is root. */
  readonly isTaskRoot: boolean;
  readonly allowSetuid: boolean;
  /** Whether set-uid programs work in tasks. */
  readonly mayGain: boolean;
  /** Tasks and terminals have units of their own. */
  readonly hasUnits: boolean;
  /** Most processes of one task. */
  readonly processes: number;
  /** Whether the kernel limits the processes of a private view. */
  readonly kernelBounds: boolean;
}

/** Lists the protection that is in force, and the missing that nobody switched off. Pure. */
export function protectionStatus(facts: ProtectionFacts): ProtectionStatus {
  const { wanted, unavailable, isTaskRoot, allowSetuid, mayGain, hasUnits, processes, kernelBounds } = facts;
  const inForce: string[] = [];
  const missing: string[] = [];
  const whose = wanted === "all" ? "tasks and terminals" : "tasks and terminals without root";
  const exposed = "can read, signal and write into each other";
  if (isTaskRoot && wanted === "auto") inForce.push("tasks and terminals see the whole machine, as root");
  else if (wanted === "off") inForce.push(`tasks and terminals ${exposed} (task_isolation is off)`);
  else if (unavailable === undefined) inForce.push(`${whose} see only their own processes`);
  else missing.push(`tasks and terminals of one user ${exposed}: ${unavailable}`);
  if (isTaskRoot) missing.push("the task user is root: tasks and terminals can do everything");
  else if (!mayGain) inForce.push("no set-uid programs in tasks");
  else if (allowSetuid) inForce.push("set-uid programs in tasks (task_allow_setuid)");
  else missing.push("set-uid programs work in tasks: there is no setpriv (util-linux)");
  const isViewBound = kernelBounds && unavailable === undefined && isIsolated(wanted, isTaskRoot);
  if (hasUnits) inForce.push(`${processes} processes each (task_pids_max)`);
  else if (isViewBound) inForce.push(`${processes} processes in each private view (task_pids_max)`);
  else missing.push("nothing bounds how many processes a task starts: there are no systemd units for it");
  return { isolation: wanted, in_force: inForce, missing };
}
