// Finds out who holds the lock of a package manager: program, pid, unit, and for how long it runs.
import { statSync } from "node:fs";
import { steadyNow } from "../lib/clock.ts";
import { humanDuration, milliseconds } from "../lib/duration.ts";
import { printable } from "../lib/printable.ts";
import { namesIn, textIn } from "../platform/lenient-reads.ts";
import { holdersOf, processName, readStat } from "../platform/processes.ts";
import type { PackageLock } from "./adapter.ts";

export interface LockHolder {
  readonly path: string;
  /** Undefined when nobody on this machine holds it: a lock file that a crash has left, or a holder outside this container. */
  readonly pid: number | undefined;
}

/** Returns the holders of those locks that are held, each process once. */
export function lockHolders(locks: readonly PackageLock[]): LockHolder[] {
  const table = locks.some(({ kind }) => kind === "record") ? parseLocks(textIn("/proc/locks")) : [];
  const holders = locks.flatMap((lock) => holderOf(lock, table));
  return holders.filter(({ pid }, at) => holders.findIndex((one) => one.pid === pid) === at);
}

function holderOf({ kind, path }: PackageLock, table: readonly LockEntry[]): LockHolder[] {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return [];
  if (kind === "pid") {
    const pid = Number.parseInt(textIn(path), 10);
    return pid !== process.pid && readStat(pid) !== undefined ? [{ path, pid }] : [];
  }
  if (kind === "file") {
    const [pid] = holdersOf(path, processIds());
    return [{ path, pid }];
  }
  const device = deviceOf(stat.dev);
  return table
    .filter((entry) => entry.inode === stat.ino && entry.pid !== process.pid)
    .filter(
      // btrfs and overlayfs show another device in the table than in stat.
      ({ pid, device: of }) => of === device || holdersOf(path, [pid]).length > 0,
    )
    .map(({ pid }) => ({ path, pid: pid > 0 ? pid : undefined }));
}

export interface LockEntry {
  readonly pid: number;
  /** "fe:00", as the table writes it. */
  readonly device: string;
  readonly inode: number;
}

/** Reads "1: POSIX  ADVISORY  WRITE 1719 fe:00:131234 0 EOF"; a line with "->" is a process that waits for the lock. */
export const parseLocks = (text: string): LockEntry[] =>
  [...text.matchAll(/^\d+: (?:POSIX|FLOCK|OFDLCK)\s+\w+\s+\w+\s+(-?\d+) ([0-9a-f]+:[0-9a-f]+):(\d+) /gm)].map(
    ([, pid, device = "", inode]) => ({ pid: Number(pid), device, inode: Number(inode) }),
  );

/** The kernel's "%02x:%02x" of a device number as stat returns it (glibc's gnu_dev_major and gnu_dev_minor). */
function deviceOf(dev: number): string {
  const number = BigInt(dev);
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & 0xfffff000n);
  const minor = (number & 0xffn) | ((number >> 12n) & 0xffffff00n);
  return [major, minor].map((part) => part.toString(16).padStart(2, "0")).join(":");
}

/** "apt-get upgrade -y (pid 1719, apt-daily-upgrade.service, running for 2m)". */
export function describeHolder({ path, pid }: LockHolder): string {
  if (pid === undefined) return `${path}: a process outside of this container, or none any more`;
  const ticks = Number(readStat(pid)?.startTime);
  const age = steadyNow() - milliseconds(ticks * 10);
  const unit = unitFrom(textIn(`/proc/${pid}/cgroup`));
  const words = textIn(`/proc/${pid}/cmdline`).split("\0").join(" ").trim();
  const program = printable(words === "" ? processName(pid) : words).slice(0, 120);
  const facts = [
    `pid ${pid}`,
    ...(unit === undefined ? [] : [unit]),
    ...(Number.isFinite(age) ? [`running for ${humanDuration(age)}`] : []),
  ];
  return `${program} (${facts.join(", ")})`;
}

/** The innermost service or scope of a /proc/<pid>/cgroup; undefined without one. */
export const unitFrom = (cgroup: string): string | undefined =>
  cgroup
    .split(/[/\n]/)
    .filter((part) => /\.(service|scope)$/.test(part))
    .at(-1);

const processIds = (): number[] =>
  namesIn("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
