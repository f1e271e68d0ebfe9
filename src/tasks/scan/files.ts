// Opens a log file and its rotated predecessors for reading, without following a link out of their directory.
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readSync,
  readdirSync,
  realpathSync,
  statSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { epochOf, wallNow } from "../../lib/clock.ts";
import { errnoOf } from "../../lib/errno.ts";
import { AgentError, messageOf } from "../../lib/agent-error.ts";
import { type Account, isInGroup } from "../../platform/account.ts";
import type { LogFile, LogFiles } from "./file-scan.ts";

export interface OpenLogFiles extends LogFiles, Disposable {}

/** Most rotated files of one log that are read: the youngest. */
const ROTATED_MAX = 20;
const COMPRESSED = /\.(gz|xz|zst|bz2|lz4|Z)$/;

/**
 * Opens the log at `path`. Returns undefined where there is none. Between the two steps of a rotation there is none: then the
 * youngest rotated file takes its place, if `wasRead` holds for the identity of one of them. A link is followed within the real directory of the log
 * only, and nothing but a regular file is read. `reader` is the user on whose behalf a root agent reads; undefined: as
 * itself. Throws "scan.unreadable" with the reason.
 */
export function openLogFiles(
  path: string,
  reader: Account | undefined,
  wasRead?: (identity: string) => boolean,
): OpenLogFiles | undefined {
  const opened: Disposable[] = [];
  const close = (): void => {
    for (const file of opened.splice(0)) file[Symbol.dispose]();
  };
  try {
    const open = (log: readonly OpenLog[]): readonly OpenLog[] => {
      opened.push(...log);
      return log;
    };
    const [log] = open([openLog(path, reader) ?? []].flat());
    const predecessors =
      log === undefined && wasRead !== undefined ? open(openPredecessors(path, reader)) : [];
    const isRotating = predecessors.some(({ identity }) => wasRead?.(identity));
    const current = log ?? (isRotating ? predecessors.at(-1) : undefined);
    if (current === undefined) {
      close();
      return undefined;
    }
    return {
      current,
      rotated: () =>
        (log === undefined ? predecessors : open(openPredecessors(path, reader)))
          .filter(({ identity }) => identity !== current.identity)
          .slice(-ROTATED_MAX),
      [Symbol.dispose]: close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

type OpenLog = LogFile & Disposable & { readonly modified: number };

/** The oldest first. Files of one tick of the clock by their number: "syslog.2" is older than "syslog.1". */
const byAge = (a: OpenLog, b: OpenLog): number =>
  a.modified - b.modified || b.name.localeCompare(a.name, "en", { numeric: true });

/** How often the rotated files are opened again because their names changed meanwhile. */
const TRIES = 5;

/** The oldest first. A rotation that renames them one by one while they are opened hides none. */
function openPredecessors(path: string, reader: Account | undefined): OpenLog[] {
  for (let tries = 1; ; tries++) {
    const names = rotatedNames(path);
    const found = names.flatMap((name) => openRotated(join(dirname(path), name), reader));
    const isSame = found.every(({ name, identity }) => identityNow(join(dirname(path), name)) === identity);
    if (tries === TRIES || (isSame && rotatedNames(path).join("/") === names.join("/")))
      return found.toSorted(byAge);
    for (const file of found) file[Symbol.dispose]();
  }
}

function identityNow(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found && identityOf(found);
}

const identityOf = ({ dev, ino }: { dev: number; ino: number }): string => `${dev}:${ino}`;

/** One that cannot be read is as good as absent. */
function openRotated(path: string, reader: Account | undefined): OpenLog[] {
  try {
    return [openLog(path, reader) ?? []].flat();
  } catch {
    return [];
  }
}

/** "syslog.1", "syslog-20261126"; compressed ones are not read. */
function rotatedNames(path: string): string[] {
  const name = basename(path);
  const isRotated = (entry: string): boolean =>
    entry.startsWith(name) && /^[.-]\d/.test(entry.slice(name.length)) && !COMPRESSED.test(entry);
  return readdirSync(dirname(path))
    .filter(isRotated)
    .slice(0, 10 * ROTATED_MAX);
}

function openLog(path: string, reader: Account | undefined): OpenLog | undefined {
  let fd: number;
  try {
    const directory = realpathSync(dirname(path));
    const real = realpathSync(path);
    if (dirname(real) !== directory)
      throw unreadable(path, `it is a link to ${real}, outside of ${directory}`);
    // A FIFO must not block; what it is, is asked of the descriptor.
    fd = openSync(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error instanceof AgentError ? error : unreadable(path, messageOf(error));
  }
  try {
    const found = fstatSync(fd);
    if (!found.isFile()) throw unreadable(path, "it is not a regular file");
    if (reader !== undefined && !mayRead(reader, found))
      throw unreadable(path, "it may not be read without root");
    return {
      name: basename(path),
      identity: identityOf(found),
      size: found.size,
      modified: found.mtimeMs,
      quietFor: epochOf(wallNow()) - found.mtimeMs,
      read(offset, length) {
        const bytes = new Uint8Array(length);
        return bytes.subarray(0, readSync(fd, bytes, 0, length, offset));
      },
      [Symbol.dispose]: () => closeSync(fd),
    };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** The kernel decides for the agent itself; for another user the mode is compared, as access lists are rare below /var/log. */
function mayRead({ uid }: Account, file: { uid: number; gid: number; mode: number }): boolean {
  if (uid === 0) return true;
  const shift = file.uid === uid ? 6 : isInGroup(uid, file.gid) ? 3 : 0;
  return ((file.mode >> shift) & 4) !== 0;
}

const unreadable = (path: string, why: string): AgentError =>
  new AgentError("scan.unreadable", `${path} cannot be read: ${why}`);
