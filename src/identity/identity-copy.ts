// Keeps a copy of the identity file, which may be empty, torn or full of zeros after a loss of power.
import { readFileSync } from "node:fs";
import { AgentError } from "../lib/agent-error.ts";
import { writeFileAtomic } from "../platform/atomic-file.ts";
import { setAside } from "../platform/set-aside.ts";
import { readIdentity } from "./identity-file.ts";

export const identityCopyPath = (path: string): string => `${path}.copy`;

/**
 * Updates the copy of a readable identity file, or restores a damaged one from its copy. Returns a message if
 * it restored it, else undefined. Leaves a file that is missing or has empty values: somebody made it so.
 * Never throws.
 */
export function keepIdentityCopy(path: string): string | undefined {
  try {
    const state = stateOf(path);
    const copy = identityCopyPath(path);
    if (state === "whole") renew(copy, readFileSync(path));
    if (state !== "damaged" || stateOf(copy) !== "whole") return undefined;
    const aside = setAside(path, "damaged");
    writeFileAtomic(path, readFileSync(copy));
    return `the identity file ${path} was damaged: it was brought back from its copy; what it was is in ${aside}`;
  } catch {
    return undefined;
  }
}

function renew(copy: string, bytes: Uint8Array): void {
  if (stateOf(copy) === "damaged") setAside(copy, "damaged");
  if (stateOf(copy) !== "whole" || !readFileSync(copy).equals(bytes)) writeFileAtomic(copy, bytes);
}

type FileState = "whole" | "none" | "damaged";

function stateOf(path: string): FileState {
  try {
    if (readIdentity(path) !== undefined) return "whole";
    return isBlank(path) ? "damaged" : "none";
  } catch (error) {
    if (error instanceof AgentError) return "damaged";
    throw error;
  }
}

/** Returns whether the file is empty; false for one that is missing or has empty values. */
function isBlank(path: string): boolean {
  try {
    return readFileSync(path, "utf8").trim() === "";
  } catch {
    return false;
  }
}
