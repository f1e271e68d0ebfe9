// Finds the descriptors of a pty that was just opened in /proc: the number of its master, the name of its slave.
import { chownSync, readFileSync, readdirSync, readlinkSync, statSync } from "node:fs";

/** Returns our pty masters with the tty of each: descriptor numbers alone are reused by other threads. */
export function openMasters(): ReadonlyMap<number, number> {
  const masters = new Map<number, number>();
  for (const name of readdirSync("/proc/self/fd")) {
    const index = leadsToPtmx(name) ? ttyIndexOf(Number(name)) : undefined;
    if (index !== undefined) masters.set(Number(name), index);
  }
  return masters;
}

function leadsToPtmx(name: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${name}`).endsWith("ptmx");
  } catch {
    return false;
  }
}

export interface PtyDescriptors {
  /** The n of /dev/pts/n. */
  readonly index: number;
  /** Our descriptors of its master. */
  readonly masters: readonly number[];
}

/**
 * Returns the pty opened since `before`, without the child, which may have ended. Undefined where the kernel does not list it.
 */
export function ptyOpenedSince(before: ReadonlyMap<number, number>): PtyDescriptors | undefined {
  const opened = [...openMasters()].filter(([fd, tty]) => before.get(fd) !== tty);
  const [, index] = opened[0] ?? [];
  if (index === undefined) return undefined;
  return { index, masters: opened.filter(([, tty]) => tty === index).map(([fd]) => fd) };
}

/** Returns the tty index of one of our descriptors; undefined when it is no pty master. */
export function ttyIndexOf(fd: number): number | undefined {
  const [, index] = /^tty-index:\s*(\d+)$/m.exec(readDescriptor(fd)) ?? [];
  return index === undefined ? undefined : Number(index);
}

/** Returns the content of its fdinfo; empty when it is closed. */
export function readDescriptor(fd: number): string {
  try {
    return readFileSync(`/proc/self/fdinfo/${fd}`, "latin1");
  } catch {
    return "";
  }
}

/** Returns the slave on stdin of a process; undefined when the process has ended or redirected stdin. */
export function slaveOf(pid: number): string | undefined {
  try {
    const target = readlinkSync(`/proc/${pid}/fd/0`);
    return target.startsWith("/dev/pts/") ? target : undefined;
  } catch {
    return undefined;
  }
}

/** Changes the owner of the tty, as login does; its group (tty, for `write`) stays. */
export function giveTo(path: string, uid: number): void {
  chownSync(path, uid, statSync(path).gid);
}
