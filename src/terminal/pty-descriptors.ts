// The descriptors of a pty that was just opened, found through /proc: its master's number, its slave's name.
import { chownSync, readFileSync, readdirSync, readlinkSync, statSync } from "node:fs";

export const openDescriptors = (): ReadonlySet<string> => new Set(readdirSync("/proc/self/fd"));

export interface PtyDescriptors {
  /** The n of /dev/pts/n. */
  readonly index: number;
  /** Ours that lead to its master. */
  readonly masters: readonly number[];
}

/**
 * What was opened since `before`, without asking the child, which may be gone. Undefined where the kernel does not tell.
 */
export function ptyOpenedSince(before: ReadonlySet<string>): PtyDescriptors | undefined {
  const masters = readdirSync("/proc/self/fd")
    .filter((fd) => !before.has(fd))
    .map((fd) => ({ fd: Number(fd), index: ttyIndexOf(Number(fd)) }));
  const index = masters.find((master) => master.index !== undefined)?.index;
  if (index === undefined) return undefined;
  return { index, masters: masters.filter((master) => master.index === index).map(({ fd }) => fd) };
}

/** Of a descriptor of ours that leads to a pty's master; undefined for any other. */
export function ttyIndexOf(fd: number): number | undefined {
  const [, index] = /^tty-index:\s*(\d+)$/m.exec(readDescriptor(fd)) ?? [];
  return index === undefined ? undefined : Number(index);
}

/** What the kernel says of it; empty when it is closed. */
export function readDescriptor(fd: number): string {
  try {
    return readFileSync(`/proc/self/fdinfo/${fd}`, "latin1");
  } catch {
    return "";
  }
}

/** The slave on which a program runs, by asking it; undefined when it is gone or has turned to something else. */
export function slaveOf(pid: number): string | undefined {
  try {
    const target = readlinkSync(`/proc/${pid}/fd/0`);
    return target.startsWith("/dev/pts/") ? target : undefined;
  } catch {
    return undefined;
  }
}

/** As login does: the tty belongs to who works on it, its group (tty, for `write`) stays. */
export function giveTo(path: string, uid: number): void {
  chownSync(path, uid, statSync(path).gid);
}
