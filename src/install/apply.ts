// Executes the steps of an installation, one function for each kind of part, and undoes them when one fails.
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  rmdirSync,
  symlinkSync,
} from "node:fs";
import { dirname } from "node:path";
import { writeFileAtomic } from "../platform/atomic-file.ts";
import { SYSTEM_PATH, findAccount } from "../platform/account.ts";
import { places } from "./places.ts";
import type { Part, Removal, InstallStep } from "./plan.ts";
import { runProgram } from "./service.ts";
import { makeUser, removeUser } from "./user.ts";

/** Restores what was there before a step. */
type Undo = () => void;

/** The steps done so far, and how to undo them. */
export interface Transaction {
  apply(step: InstallStep): void;
  /** Remembers a file, directory or nothing at `path`, for `undo`. Small files only. */
  remember(path: string): void;
  /** Records how to undo a change that the caller made itself. */
  add(undo: Undo): void;
  /** Undoes everything, the last change first. Returns a message for each change that could not be undone. */
  undo(): readonly string[];
  /** Makes the changes final and removes the previous executable. */
  commit(): void;
}

/** Begins an installation that can be undone until `commit`. */
export function transaction(): Transaction {
  const undos: Undo[] = [];
  return {
    apply(step) {
      undos.push(executors[step.part.kind](step.part as never, step.how));
    },
    remember: (path) => void undos.push(remembered(path)),
    add: (undo) => void undos.push(undo),
    undo() {
      const failures: string[] = [];
      for (const undo of undos.splice(0).toReversed()) {
        try {
          undo();
        } catch (error) {
          failures.push(String(error));
        }
      }
      return failures;
    },
    commit() {
      undos.length = 0;
      rmSync(places.previous, { force: true });
    },
  };
}

const executors: {
  [K in Part["kind"]]: (part: Extract<Part, { kind: K }>, how: InstallStep["how"]) => Undo;
} = {
  directory({ path, mode, owner }, how) {
    const undo = remembered(path);
    if (how === "make") {
      makeDirectory(path, mode);
      const account = owner === undefined ? undefined : findAccount(owner);
      if (account !== undefined) chownSync(path, account.uid, account.gid);
    } else {
      chownSync(path, 0, 0);
      chmodSync(path, lstatSync(path).mode & 0o1755);
    }
    return undo;
  },
  program({ path, from }) {
    const fresh = `${path}.new`;
    rmSync(fresh, { force: true });
    // Copy into the final directory: a file moved from elsewhere keeps the SELinux label of the place it came from.
    copyFileSync(from, fresh, constants.COPYFILE_EXCL);
    chmodSync(fresh, 0o755);
    chownSync(fresh, 0, 0);
    sync(fresh);
    const had = lstatSync(path, { throwIfNoEntry: false }) !== undefined;
    rmSync(places.previous, { force: true });
    if (had) linkSync(path, places.previous);
    renameSync(fresh, path);
    relabel(path);
    sync(dirname(path));
    return () => (had ? renameSync(places.previous, path) : rmSync(path, { force: true }));
  },
  text({ path, text, mode }) {
    const undo = remembered(path);
    writeFileAtomic(path, text, mode);
    relabel(path);
    return undo;
  },
  link({ path, target }) {
    symlinkSync(target, path);
    return () => rmSync(path, { force: true });
  },
  user({ path: name, home }) {
    makeUser(name, home);
    return () => void removeUser(name);
  },
};

function makeDirectory(path: string, mode: number): void {
  // /opt and /usr/local may be missing: a system needs neither.
  mkdirSync(dirname(path), { recursive: true });
  mkdirSync(path, { mode });
  chmodSync(path, mode);
  relabel(path);
}

/** Returns what restores owner, mode and content as they are now. */
function remembered(path: string): Undo {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) {
    return () => {
      const now = lstatSync(path, { throwIfNoEntry: false });
      if (now?.isDirectory() === true) removeIfEmpty(path);
      else rmSync(path, { force: true });
    };
  }
  const { uid, gid, mode } = stat;
  if (stat.isSymbolicLink()) {
    const target = readlinkSync(path);
    return () => {
      rmSync(path, { force: true });
      symlinkSync(target, path);
    };
  }
  if (stat.isFile()) {
    const content = readFileSync(path);
    return () => writeFileAtomic(path, content, mode & 0o7777, { uid, gid });
  }
  return () => {
    chownSync(path, uid, gid);
    chmodSync(path, mode & 0o7777);
  };
}

/** Removes an empty directory. Returns false when others have put something there meanwhile. */
function removeIfEmpty(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch {
    return false;
  }
}

function sync(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Gives a file the SELinux label of its place; does nothing without SELinux. */
function relabel(path: string): void {
  const restorecon = Bun.which("restorecon", { PATH: SYSTEM_PATH });
  if (restorecon !== null) runProgram([restorecon, path]);
}

/** Removes what `planUninstall` lists. Returns a line for each thing removed, and one for each that stays, with the reason. */
export function removeAll(removal: Removal): { readonly removed: string[]; readonly left: string[] } {
  const removed: string[] = [];
  const left: string[] = [];
  for (const { path, kind, isTree } of removal.remove) {
    if (kind === "user") {
      const why = removeUser(path);
      if (why === undefined) removed.push(`the user ${path}`);
      else left.push(`the user ${path}: ${why}`);
    } else if (kind === "directory" && !isTree) {
      if (removeIfEmpty(path)) removed.push(path);
      else left.push(`${path}: it is not empty`);
    } else {
      rmSync(path, { recursive: isTree, force: true });
      removed.push(path);
    }
  }
  return { removed, left };
}
