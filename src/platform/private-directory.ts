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
