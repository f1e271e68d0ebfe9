// Files that are either the old or the new version, never half: temp → fsync → rename → fsync of the directory.
import { epochOf, wallNow } from "../lib/clock.ts";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
  fchmodSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";

/** Replaces `path` with `text`; a directory that is missing is made with mode 0700. Throws what the file system says. */
export function writeFileAtomic(path: string, text: string, mode = 0o600): void {
  const directory = dirname(path);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const temporary = join(
    directory,
    `.${basename(path)}.${process.pid}.${epochOf(wallNow()).toString(36)}.tmp`,
  );
  try {
    const file = openSync(temporary, "wx", mode);
    try {
      fchmodSync(file, mode);
      const bytes = Buffer.from(text);
      for (let done = 0; done < bytes.length;) done += writeSync(file, bytes, done);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    try {
      rmSync(temporary, { force: true });
    } catch {
      // What went wrong first is what has to be told.
    }
    throw error;
  }
  syncDirectory(directory);
}

function syncDirectory(directory: string): void {
  const handle = openSync(directory, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
