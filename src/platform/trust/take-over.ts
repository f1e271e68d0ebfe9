// Makes root the owner of a file or directory of the agent, through a descriptor.
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  lchownSync,
  openSync,
  readFileSync,
} from "node:fs";
import { MIB } from "../../lib/size.ts";
import { AgentError, exit } from "../../lib/agent-error.ts";
import { writeFileAtomic } from "../atomic-file.ts";
import type { PathStep } from "./decide.ts";

/**
 * Bytes. Smaller files are replaced by a copy: who has the old one open can no longer change what root reads.
 */
const COPY_MAX = MIB;

/**
 * Makes root the owner and removes the write permission of all others. The directories above must be safe
 * already. Throws "trust.unclear" for a step that changed since it was read, and for a file that has other
 * names (hard links).
 */
export function takeOverPath(step: PathStep): void {
  if (step.kind === "link") return lchownSync(step.path, 0, 0);
  const isDirectory = step.kind === "directory";
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = openSync(step.path, isDirectory ? flags | constants.O_DIRECTORY : flags);
  try {
    const found = fstatSync(file);
    const isFile = found.isFile();
    if (found.uid !== step.uid || isFile === isDirectory)
      throw unclear(step, "changed while it was looked at");
    // Another name may be a file of another user, linked here to change its owner.
    if (isFile && found.nlink > 1) throw unclear(step, "has other names (hard links)");
    const mode = found.mode & (isDirectory ? 0o1755 : 0o755);
    if (isFile && found.size <= COPY_MAX) return writeFileAtomic(step.path, readFileSync(file), mode);
    fchownSync(file, 0, 0);
    fchmodSync(file, mode);
  } finally {
    closeSync(file);
  }
}

const unclear = (step: PathStep, why: string): AgentError =>
  new AgentError("trust.unclear", `${step.path} does not belong to root and ${why}: it is not taken over`, {
    hint: "Look at it, and replace it by a file of root's.",
    exit: exit.refused,
  });
