// The executables of an update: tells them apart, and exchanges them by renames that are on the disk when they return.
import {
  chmodSync,
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  statfsSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { AgentError } from "../../lib/agent-error.ts";
import { humanSize } from "../../lib/size.ts";
import type { Which } from "./next.ts";
import { sha256Of } from "./place.ts";

export interface UpdatePaths {
  /** What the service runs. */
  readonly program: string;
  /** The executable of before. */
  readonly previous: string;
  /** A directory on the same disk. */
  readonly downloads: string;
}

/** The new executable, until it is the program. */
export const candidatePath = ({ downloads }: UpdatePaths): string => join(downloads, "noderax-agent");

/** Reads hashes of files, each again only when the file is another one: an executable has a hundred megabytes. */
export class FileHashes {
  readonly #known = new Map<string, { readonly key: string; readonly sha256: string }>();

  /** Returns the SHA-256 of a file; undefined when there is none. */
  async of(path: string): Promise<string | undefined> {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat?.isFile() !== true) return undefined;
    const key = `${stat.dev} ${stat.ino} ${stat.size} ${stat.mtimeMs}`;
    const known = this.#known.get(path);
    if (known?.key === key) return known.sha256;
    const sha256 = await sha256Of(path);
    this.#known.set(path, { key, sha256 });
    return sha256;
  }
}

/** Returns which executable has this hash. */
export const whichOf = (
  sha256: string | undefined,
  attempt: { readonly oldSha256: string; readonly newSha256?: string | undefined },
): Which =>
  sha256 === undefined
    ? "none"
    : sha256 === attempt.newSha256
      ? "new"
      : sha256 === attempt.oldSha256
        ? "old"
        : "other";

/** Makes the candidate executable and puts it on the disk. */
export function finishCandidate(path: string): void {
  chmodSync(path, 0o755);
  syncPath(path);
  syncPath(dirname(path));
}

/** Gives the program a second name, under which it stays when the new one takes its place. */
export function keepPrevious({ program, previous }: UpdatePaths): void {
  replaceByLink(program, previous);
}

/** Gives the new executable the name of the program. */
export function switchProgram(paths: UpdatePaths): void {
  renameSync(candidatePath(paths), paths.program);
  syncPath(dirname(paths.program));
}

/** Gives the executable of before the name of the program again; it keeps its second name. */
export function restoreProgram({ program, previous }: UpdatePaths): void {
  replaceByLink(previous, program);
}

/** Makes the executable of before the candidate: a rollback is an update to it. */
export function previousAsCandidate(paths: UpdatePaths): void {
  mkdirSync(paths.downloads, { recursive: true, mode: 0o700 });
  replaceByLink(paths.previous, candidatePath(paths));
}

function replaceByLink(from: string, to: string): void {
  const temporary = join(dirname(to), `.${basename(to)}.link`);
  rmSync(temporary, { force: true });
  linkSync(from, temporary);
  // A rename between two names of one file does nothing, and leaves both.
  renameSync(temporary, to);
  rmSync(temporary, { force: true });
  syncPath(dirname(to));
}

function syncPath(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Throws "update.space" when fewer than `needed` bytes are free beside the program. */
export function requireSpace({ program }: UpdatePaths, needed: number): void {
  const { bavail, bsize } = statfsSync(dirname(program));
  const free = bavail * bsize;
  if (free >= needed) return;
  throw new AgentError(
    "update.space",
    `an update needs ${humanSize(needed)} in ${dirname(program)}, and ${humanSize(free)} are free`,
    { hint: "Nothing was changed. Make room, then try again." },
  );
}
