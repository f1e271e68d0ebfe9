// Finds what a stopped command may have left to cron and at: a stop ends processes, and not what they have scheduled.
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

/** Where the cron and at of the distributions keep one file for each user, or for each job. */
const SPOOLS = {
  crontab: ["/var/spool/cron/crontabs", "/var/spool/cron/tabs", "/var/spool/cron", "/etc/crontabs"],
  at: ["/var/spool/cron/atjobs", "/var/spool/at", "/var/spool/atjobs"],
} as const;
type Scheduler = keyof typeof SPOOLS;

export interface ScheduleFile {
  readonly scheduler: Scheduler;
  /** Owner: the user as whom its commands run. */
  readonly uid: number;
  /** Milliseconds since 1970. */
  readonly changedAt: number;
}

/** Returns the files of all users; none of a spool that is missing, or that only root may read. */
export function readSchedules(
  spools: Readonly<Record<Scheduler, readonly string[]>> = SPOOLS,
): ScheduleFile[] {
  return (Object.keys(spools) as Scheduler[]).flatMap((scheduler) =>
    spools[scheduler].flatMap((directory) => filesIn(directory).map((file) => ({ scheduler, ...file }))),
  );
}

function filesIn(directory: string): Omit<ScheduleFile, "scheduler">[] {
  try {
    return readdirSync(directory).flatMap((name) => {
      const found = statSync(join(directory, name), { throwIfNoEntry: false });
      return found?.isFile() === true ? [{ uid: found.uid, changedAt: found.ctimeMs }] : [];
    });
  } catch {
    return [];
  }
}

/**
 * Returns what to tell about a stopped command of `user` that was launched at `launchedAt` (milliseconds since 1970);
 * undefined when the user's schedules did not change since. The command itself is not proven to have changed them.
 */
export function scheduledNote(
  files: readonly ScheduleFile[],
  user: { readonly name: string; readonly uid: number },
  launchedAt: number,
): string | undefined {
  const changed = new Set(
    files
      .filter(({ uid, changedAt }) => uid === user.uid && changedAt >= launchedAt)
      .map(({ scheduler }) => (scheduler === "at" ? "at jobs" : "crontab")),
  );
  if (changed.size === 0) return undefined;
  const what = [...changed].toSorted().join(" and ");
  return `the ${what} of ${user.name} changed while this command ran: what is scheduled there outlives it`;
}
