// How operator commands find the sandbox that runs on this machine: a private file with its address and token.
import { lstatSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { AgentError, messageOf } from "../lib/agent-error.ts";
import { writeFileAtomic } from "../platform/atomic-file.ts";

export interface Announced {
  readonly url: string;
  readonly operatorToken: string;
  /** PEM, when it serves HTTPS. */
  readonly certificate?: string | undefined;
}

const Announcement = v.object({
  url: v.string(),
  operator_token: v.string(),
  certificate: v.optional(v.string()),
  pid: v.number(),
});

const uid = (): number => process.getuid?.() ?? 0;

/** `/tmp` belongs to everybody, so the file stands in a directory that only this user may enter. */
const directoryFor = (temporary: string): string => join(temporary, `noderax-sandbox-${uid()}`);
const fileFor = (temporary: string): string => join(directoryFor(temporary), "current.json");

/**
 * Tells this user's commands where the sandbox is; the latest one wins. Returns the function that takes it back.
 * Throws AgentError when somebody else owns the place.
 */
export function announceSandbox(
  { url, operatorToken, certificate }: Announced,
  temporary = tmpdir(),
): () => void {
  const directory = directoryFor(temporary);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  if (!isPrivate(directory, "directory")) {
    throw new AgentError("sandbox.announce", `${directory} belongs to somebody else or is open to others`, {
      hint: [
        "remove it, or tell the commands yourself where the sandbox is:",
        "export NODERAX_SANDBOX_URL=… NODERAX_SANDBOX_TOKEN=…",
      ],
    });
  }
  const file = fileFor(temporary);
  const document = { url, operator_token: operatorToken, certificate, pid: process.pid };
  writeFileAtomic(file, `${JSON.stringify(document)}\n`);
  return () => {
    if (findSandbox(temporary)?.operatorToken === operatorToken) rmSync(file, { force: true });
  };
}

/** The sandbox this user runs, or undefined. A file that others could have written is not believed. */
export function findSandbox(temporary = tmpdir()): Announced | undefined {
  const file = fileFor(temporary);
  if (!isPrivate(directoryFor(temporary), "directory") || !isPrivate(file, "file")) return undefined;
  try {
    const found = v.parse(Announcement, JSON.parse(readFileSync(file, "utf8")));
    const { url, operator_token: operatorToken, certificate, pid } = found;
    return isAlive(pid) ? { url, operatorToken, certificate } : undefined;
  } catch (error) {
    throw new AgentError("sandbox.announce", `cannot read ${file}: ${messageOf(error)}`, {
      hint: `remove it:  rm ${file}`,
      cause: error,
    });
  }
}

/** Ours, of the right kind, no symbolic link, and closed to everybody else. */
function isPrivate(path: string, kind: "directory" | "file"): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined || stat.uid !== uid() || (stat.mode & 0o077) !== 0) return false;
  return kind === "directory" ? stat.isDirectory() : stat.isFile();
}

/** A sandbox that was killed leaves its file behind. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
