// The descriptors of a pty that was just opened, found through /proc: its master's number, its slave's name.
import { chownSync, readFileSync, readdirSync, readlinkSync, statSync } from "node:fs";

/** Our masters of ptys, and which tty each leads to. A number alone says nothing: other threads close and open theirs. */
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
  /** Ours that lead to its master. */
  readonly masters: readonly number[];
}

/**
 * What was opened since `before`, without asking the child, which may be gone. Undefined where the kernel does not tell.
 */
export function ptyOpenedSince(before: ReadonlyMap<number, number>): PtyDescriptors | undefined {
  const opened = [...openMasters()].filter(([fd, tty]) => before.get(fd) !== tty);
  const [, index] = opened[0] ?? [];
  if (index === undefined) return undefined;
  return { index, masters: opened.filter(([, tty]) => tty === index).map(([fd]) => fd) };
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
