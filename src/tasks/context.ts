// What the driver of a task works with: the ports that all tasks share, and the parts of one task.
import { totalmem } from "node:os";
import type { Duration } from "../lib/duration.ts";
import { MIB } from "../lib/size.ts";
import type { Slots } from "../lib/slots.ts";
import type { Settings } from "../config/options.ts";
import type { TaskApi } from "../control/noderax-api.ts";
import type { Outbox } from "../control/outbox.ts";
import type { RootAccess } from "../identity/root-access.ts";
import type { Runner } from "../platform/account.ts";
import type { DiskReserve } from "../platform/disk-reserve.ts";
import type { View } from "../platform/isolation.ts";
import type { Log } from "../platform/log.ts";
import type { HeldDirectory } from "../platform/private-directory.ts";
import { type ServiceRun, rebootRefusal } from "../platform/service.ts";
import type { TaskLimits } from "../platform/task-limits.ts";
import type { Journal, TaskOutcome } from "./journal.ts";
import type { Finished, OwnerSetting, TaskKind } from "./kinds/kind.ts";
import type { Permissions } from "./permission.ts";
import type { createShipper } from "./output/shipping.ts";
import type { StopRequest } from "./run/stop.ts";
import type { Turns } from "./turns.ts";

/** The settings that tasks use. */
export type TaskSettings = Pick<
  Settings,
  | "task_timeout"
  | "state_file"
  | "update_allow"
  | "update_channel_url"
  | "task_kill_grace"
  | "task_output_limit"
  | "task_memory_max"
  | "task_cpu_quota"
  | "task_pids_max"
  | "task_nice"
  | "task_io_weight"
  | OwnerSetting
>;

/** Returns the limits of a task; without task_memory_max four fifths of the machine's memory, in whole MiB. */
export const limitsOf = (settings: TaskSettings): TaskLimits => ({
  memory: settings.task_memory_max ?? Math.floor((totalmem() * 0.8) / MIB) * MIB,
  cpuPercent: settings.task_cpu_quota,
  processes: settings.task_pids_max,
  nice: settings.task_nice,
  ioWeight: settings.task_io_weight,
});

export interface DrivePorts {
  /** The kinds of tasks that are run. */
  readonly kinds: readonly TaskKind[];
  readonly journal: Journal;
  readonly outbox: Outbox;
  readonly api: TaskApi;
  /** Slots of commands. Work inside the agent has slots of its own: it is short, and must not wait for long commands. */
  readonly slots: Slots;
  readonly workSlots: Slots;
  readonly turns: Turns;
  readonly rootAccess: RootAccess;
  readonly log: Log;
  readonly disk: DiskReserve;
  /** The agent's service, where its stop ends the tasks that have no unit of their own. */
  readonly service: ServiceRun | undefined;
  /** Parent of the run directories. */
  readonly runs: string;
  /** The same directory, held open, so that nobody can exchange what the agent reads in it. */
  readonly held: HeldDirectory;
  /** The accounts of unprivileged commands and of root commands. */
  readonly runners: { readonly task: Runner; readonly root: Runner };
  /** Whether a command sees the processes of others. */
  readonly view: (asRoot: boolean) => Promise<View>;
  /** The soft limit of open files for commands. */
  readonly openFiles: number | undefined;
  readonly settings: TaskSettings;
}

/** Returns what this node allows at this moment. `ownService`: the agent's service, which a restart restarts. */
export const permissionsOf = (
  { kinds, rootAccess, runners, settings }: Pick<DrivePorts, "kinds" | "rootAccess" | "runners" | "settings">,
  ownService: string | undefined,
): Permissions => ({
  kinds,
  owner: settings,
  settings,
  runner: runners.task,
  rootProfile: rootAccess.profile(),
  rootRefusal: (surface) => rootAccess.refusal(surface),
  ownService,
  rebootRefusal: rebootRefusal(),
});

/** The parts that belong to the one task. */
export interface DriveContext {
  readonly stop: StopRequest;
  readonly shipper: ReturnType<typeof createShipper>;
  /** Sets the status message of the task, for `status`. */
  readonly say: (note: string) => void;
  /** Called when the command has ended: its report is still to be delivered. */
  readonly ended: () => void;
}

/** A task that has a slot; `leave` frees it. */
export interface WithSlot extends DriveContext {
  readonly leave: () => void;
}

/** How a task ended, and what its kind adds to the completion. */
export interface EndedTask {
  readonly outcome: TaskOutcome;
  readonly finished?: Finished;
}

/** Adds what a kind says of the end: an error makes a success a failure, and is the text of any failure. */
export function withFinished(outcome: TaskOutcome, finished: Finished): EndedTask {
  const { error } = finished;
  if (error === undefined) return { outcome, finished };
  const status = outcome.status === "success" ? "failed" : outcome.status;
  return { outcome: { ...outcome, status, text: error }, finished };
}

/** The time between SIGTERM and SIGKILL of a launch. */
export const graceOf = (
  launched: { readonly grace?: number | undefined },
  settings: TaskSettings,
): Duration => launched.grace ?? settings.task_kill_grace;
