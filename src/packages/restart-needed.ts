// Finds out what an operation on packages leaves to do: whether the machine has to be rebooted, and which services run old code.
import { existsSync } from "node:fs";
import { release } from "node:os";
import { namesIn, textIn } from "../platform/lenient-reads.ts";
import { unitFrom } from "./lock-holder.ts";

export interface RestartNeeded {
  /** Why a reboot is needed; empty when it is not. */
  readonly reboot: readonly string[];
  readonly services: readonly string[];
}

/** As root it sees all processes; another user only their own. Blocks for about 1 ms for each ten processes. */
export const restartNeeded = (): RestartNeeded => ({ reboot: rebootReasons(), services: oldServices() });

function rebootReasons(): string[] {
  const reasons: string[] = [];
  if (existsSync("/run/reboot-required")) {
    const packages = textIn("/run/reboot-required.pkgs").split("\n").filter(Boolean);
    const names = [...new Set(packages)].join(", ");
    reasons.push(names === "" ? "/run/reboot-required exists" : `required by ${names}`);
  }
  const kernels = namesIn("/lib/modules").filter((name) => existsSync(`/boot/vmlinuz-${name}`));
  const newer = newerKernel(release(), kernels);
  if (newer !== undefined) reasons.push(`kernel ${newer} is installed, ${release()} runs`);
  return reasons;
}

/** Returns the newest kernel of the same flavour as the running one, when it is newer; "6.1.0-18-cloud-amd64" has "cloud-amd64". */
export function newerKernel(running: string, installed: readonly string[]): string | undefined {
  const newest = installed
    .filter((name) => flavourOf(name) === flavourOf(running))
    .sort((a, b) => compareNumbers(a, b))
    .at(-1);
  return newest !== undefined && compareNumbers(newest, running) > 0 ? newest : undefined;
}

const flavourOf = (version: string): string => version.replace(/^[\d.~-]+/, "");

function compareNumbers(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => (/^[\d.~-]+/.exec(text)?.[0] ?? "").split(/\D+/).map(Number));
  for (let at = 0; at < Math.max(left?.length ?? 0, right?.length ?? 0); at++) {
    const difference = (left?.[at] ?? 0) - (right?.[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Services with a process that has program code mapped whose file was removed or replaced. */
function oldServices(): string[] {
  const units = namesIn("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid) || !runsOldCode(textIn(`/proc/${pid}/maps`))) return [];
    const unit = unitFrom(textIn(`/proc/${pid}/cgroup`));
    return unit?.endsWith(".service") === true && !unit.startsWith("noderax-task-") ? [unit] : [];
  });
  return [...new Set(units)].sort();
}

/** Whether a /proc/<pid>/maps has executable mappings of removed files below a directory that packages own. */
export const runsOldCode = (maps: string): boolean =>
  /^\S+ r-xp \S+ \S+ \d+\s+\/(?:usr|lib|lib64|bin|sbin|opt)\/[^\n]* \(deleted\)$/m.test(maps);
