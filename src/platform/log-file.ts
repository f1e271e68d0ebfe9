// Bounds the log file that OpenRC's supervisor makes of this process's output. Under systemd the journal bounds itself.
import { MIB } from "../lib/size.ts";
import { copyFileSync, fstatSync, ftruncateSync, readlinkSync, rmSync } from "node:fs";
import { STDOUT } from "./stdio.ts";

/** The file that the init script names. The part before it is kept beside, as ….1. */
export const SERVICE_LOG = "/var/log/noderax-agent.log";
/** Each of the two files: a week of an agent that logs a line every 10 s takes 10 MB. */
export const LOG_LIMIT = 16 * MIB;

/**
 * Empties the file at `path` when it is this process's standard output and larger than `limit` bytes, and keeps what it held
 * as `path`.1. Returns whether it did. Where the copy finds no room, the text is lost: the bound comes first. Other files
 * are left alone: only a supervisor that appends to this one is known to cope. Throws the file system's error.
 */
export function boundLogFile(path: string = SERVICE_LOG, limit: number = LOG_LIMIT): boolean {
  const stat = fstatSync(STDOUT);
  if (!stat.isFile() || stat.size <= limit || readlinkSync(`/proc/self/fd/${STDOUT}`) !== path) return false;
  try {
    copyFileSync(path, `${path}.1`);
  } catch {
    rmSync(`${path}.1`, { force: true });
  }
  // Nothing is written in between: this process is the only writer, and does not turn to another work here.
  ftruncateSync(STDOUT);
  return true;
}
