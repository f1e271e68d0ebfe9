// The limits of one task: as properties of its systemd unit, as limits of a shell elsewhere, and how a limit that was hit
// is recognised. Pure.
import { formatSize } from "../lib/size.ts";

export interface TaskLimits {
  /** Bytes: of all processes in a unit, of each process elsewhere. */
  readonly memory: number;
  /** Percent of one core; undefined: no limit. Only in a unit. */
  readonly cpuPercent: number | undefined;
  /** Processes and threads. */
  readonly processes: number;
  /** Added to the niceness: 0 to 19. */
  readonly nice: number;
  /** 1 to 10 000, where 100 is usual. Only in a unit. */
  readonly ioWeight: number;
}

/** Returns the properties of a systemd unit. */
export const unitLimits = ({ memory, cpuPercent, processes, nice, ioWeight }: TaskLimits): string[] => [
  `TasksMax=${processes}`,
  `MemoryMax=${memory}`,
  // Swap would let a task take that much again, and slow down the machine.
  "MemorySwapMax=0",
  ...(cpuPercent === undefined ? [] : [`CPUQuota=${cpuPercent}%`]),
  ...(nice === 0 ? [] : [`Nice=${nice}`]),
  ...(ioWeight === 100 ? [] : [`IOWeight=${ioWeight}`]),
];

/**
 * Returns lines of a shell script that limit it where it has no unit. The data limit counts what a process can write to,
 * not the addresses that Go or Java only reserve. The number of processes is limited by the private view.
 */
export const shellLimits = ({ memory, nice }: TaskLimits): string[] => [
  `ulimit -d ${Math.floor(memory / 1_024)} 2>/dev/null`,
  ...(nice === 0 ? [] : [`renice ${nice} $$ >/dev/null 2>&1`]),
];

/**
 * Shell function that prints what the kernel counted against the limits of our own control group, in version 2 or 1 of the
 * hierarchy. Prints nothing outside of one.
 */
export const COUNT_HITS = `hits() {
  while IFS=: read -r number controller path; do
    case $controller in
      '') for root in /sys/fs/cgroup /sys/fs/cgroup/unified; do
        cat "$root$path/memory.events" "$root$path/pids.events"
      done ;;
      memory) cat "/sys/fs/cgroup/memory$path/memory.oom_control"
        printf 'failcnt %s\\n' "$(cat "/sys/fs/cgroup/memory$path/memory.failcnt")" ;;
      pids) cat "/sys/fs/cgroup/pids$path/pids.events" ;;
    esac
  done </proc/self/cgroup 2>/dev/null
}`;

/**
 * Returns which limit was hit, in words, by what `hits` printed; undefined when none was. The kernel counts a kill whoever ran
 * out of memory; `oom` (version 2) and `failcnt` (version 1) count only what the limit of the group itself refused.
 */
export function limitHit(
  counts: string,
  { memory, processes }: Pick<TaskLimits, "memory" | "processes">,
): string | undefined {
  if (/^oom_kill [1-9]/m.test(counts)) {
    const isOwn = /^(oom|failcnt) [1-9]/m.test(counts);
    return isOwn
      ? `killed: memory limit ${formatSize(memory)} (task_memory_max)`
      : "killed: the machine ran out of memory";
  }
  // Of pids.events; memory.events has a line with the same name before "oom".
  const events = counts.replace(/^low \d+\nhigh \d+\nmax \d+\n/gm, "");
  if (/^max [1-9]/m.test(events)) return `process limit ${processes} reached (task_pids_max)`;
  return undefined;
}
