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
  fchownSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";

/**
 * Replaces `path` with `content`; a directory that is missing is made with mode 0700. `owner` is for root that writes another
 * user's file. Throws what the file system says.
 */
export function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  mode = 0o600,
  owner?: { readonly uid: number; readonly gid: number },
): void {
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
      // Before it has its name: under that, it may be replaced by a link to anything.
      if (owner !== undefined) fchownSync(file, owner.uid, owner.gid);
      const bytes = Buffer.from(content);
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
