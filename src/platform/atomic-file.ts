// Replaces files so that a crash leaves the old or the new version: temporary file, fsync, rename, fsync of
// the directory.
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
 * Replaces `path` with `content`; makes missing directories with mode 0700. `owner` is for root, when it
 * writes the file of another user. Throws errors of the file system.
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
      // Before the rename: under its final name, somebody could replace it by a link to any file.
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
      // The first error is the one to report.
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
