// Holds a directory open that only our user can change, so that names are looked up in it and not along its
// path.
import { closeSync, constants, fstatSync, mkdirSync, openSync, statSync, writeFileSync } from "node:fs";
import { AgentError, exit } from "../lib/agent-error.ts";
import { userName } from "./account.ts";

export interface PrivateDirectory extends Disposable {
  /** Makes a file with mode 0600. Throws when the name exists. */
  write(name: string, text: string): void;
  /** Throws "state.exchanged" when `path` no longer leads here: for programs that accept only a path. */
  check(): void;
}

export interface HeldDirectory extends Disposable {
  /**
   * Returns the path through the descriptor, valid in this process. Throws "state.exchanged" when the
   * directory is not ours.
   */
  path(): string;
}

/**
 * Holds a directory open from its first use. Makes it when it is missing or was removed. Refuses another
 * directory that somebody put in its place, which is possible where others can write to a directory above.
 */
export function holdDirectory(path: string): HeldDirectory {
  // Earlier descriptors stay open: their paths may still be in use, and their numbers must not be reused.
  const handles: number[] = [];
  const isStill = (handle: number): boolean => {
    const [found, held] = [statSync(path, { throwIfNoEntry: false }), fstatSync(handle)];
    return found !== undefined && found.ino === held.ino && found.dev === held.dev;
  };
  return {
    path() {
      let handle = handles.at(-1);
      if (handle === undefined || !isStill(handle)) {
        handle = openOwn(path);
        handles.push(handle);
      }
      return `/proc/self/fd/${handle}`;
    },
    [Symbol.dispose]() {
      for (const handle of handles.splice(0)) closeSync(handle);
    },
  };
}

function openOwn(path: string): number {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  const handle = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  const { uid, mode } = fstatSync(handle);
  if (uid === process.geteuid?.() && (mode & 0o022) === 0) return handle;
  closeSync(handle);
  throw new AgentError("state.exchanged", `${path} belongs to ${userName(uid)}, or others may write to it`, {
    hint: `Look at what is in it, and move it away; the agent makes another one.`,
    exit: exit.refused,
  });
}

/**
 * Makes a directory in an existing one. Throws when the name exists, and "state.exchanged" when it is not
 * ours alone.
 */
export function makePrivateDirectory(path: string): PrivateDirectory {
  mkdirSync(path, { mode: 0o700 });
  const handle = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    const { uid, mode, ino, dev } = fstatSync(handle);
    if (uid !== process.geteuid?.() || (mode & 0o077) !== 0)
      throw exchanged(path, `belongs to ${userName(uid)}, mode ${(mode & 0o777).toString(8)}`);
    return {
      write(name, text) {
        writeFileSync(`/proc/self/fd/${handle}/${name}`, text, { mode: 0o600, flag: "wx" });
      },
      check() {
        const found = statSync(path);
        if (found.ino !== ino || found.dev !== dev) throw exchanged(path, "is another directory now");
      },
      [Symbol.dispose]: () => closeSync(handle),
    };
  } catch (error) {
    closeSync(handle);
    throw error;
  }
}

const exchanged = (path: string, what: string): AgentError =>
  new AgentError("state.exchanged", `${path} was just made by the agent and ${what}`, {
    hint: "Somebody else can write to a directory above it.",
    exit: exit.refused,
  });
