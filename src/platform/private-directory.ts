// A directory that nobody but this process's user can change, held open: names are looked up in it, not along its path.
import { closeSync, constants, fstatSync, mkdirSync, openSync, statSync, writeFileSync } from "node:fs";
import { AgentError, exit } from "../lib/agent-error.ts";
import { userName } from "./account.ts";

export interface PrivateDirectory extends Disposable {
  /** Makes a file of mode 0600; throws when the name exists. */
  write(name: string, text: string): void;
  /** Throws an AgentError when `path` does not lead here any more. For programs that take nothing but a path. */
  check(): void;
}

export interface HeldDirectory extends Disposable {
  /** The path through the descriptor, for this process alone. Throws an AgentError when the directory is not ours. */
  path(): string;
}

/**
 * Holds a directory of ours open from its first use on; it is made when it is missing. Where others can write to a directory
 * above, another one may be put in its place: that one is refused. One that was removed is made again.
 */
export function holdDirectory(path: string): HeldDirectory {
  // Earlier ones stay open: their paths may still be in use, and must not lead to what gets their number next.
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

/** Makes the directory, whose parent exists. Throws when the name is taken, and an AgentError when it is not ours alone. */
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
