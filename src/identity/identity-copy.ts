// A copy of the last identity that could be read: after a loss of power the file itself may be empty, torn or full of zeros.
import { readFileSync } from "node:fs";
import { AgentError } from "../lib/agent-error.ts";
import { writeFileAtomic } from "../platform/atomic-file.ts";
import { setAside } from "../platform/set-aside.ts";
import { readIdentity } from "./identity-file.ts";

export const identityCopyPath = (path: string): string => `${path}.copy`;

/**
 * Renews the copy of an identity that is whole; brings a damaged one back from its copy. Returns what was brought back, in
 * words. A file that is missing, or has empty values, was made so by somebody and stays so. Throws nothing: without a
 * copy everything is as it was.
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

/** An empty file; false for one that is missing or has empty values. */
function isBlank(path: string): boolean {
  try {
    return readFileSync(path, "utf8").trim() === "";
  } catch {
    return false;
  }
}
