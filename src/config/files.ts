// Finds and reads configuration files, and decides which of them may be trusted.
import { closeSync, constants, fstatSync, openSync, readFileSync, statSync } from "node:fs";
import { extname, resolve } from "node:path";
import { MIB } from "../lib/size.ts";
import { errnoOf } from "../lib/errno.ts";
import { AgentError, exit, messageOf } from "../lib/agent-error.ts";
import { isRoot } from "../platform/account.ts";
import { distrustOf, requireTrusted, secure } from "../platform/trust/root-trust.ts";
import { isForeign, mentionsNoKey } from "./foreign.ts";
import { position, scanJson } from "./json.ts";
import { SyntaxProblem } from "./syntax-problem.ts";
import type { RawValue } from "./value.ts";

export type FileKind = "json" | "yaml" | "dotenv";

export interface FileEntry {
  readonly key: string;
  readonly value: RawValue;
  readonly line: number;
}

export interface ConfigFile {
  readonly path: string;
  readonly kind: FileKind;
  readonly entries: readonly FileEntry[];
  /** Whether others than its owner can read it. */
  readonly exposed: boolean;
}

/** Paths to try, relative ones in the working directory. The first that exists is used. */
export interface SearchPaths {
  readonly json: readonly string[];
  readonly yaml: readonly string[];
}

export const searchPaths: SearchPaths = {
  json: [
    "config.local.json",
    "config.json",
    "config/config.json",
    "/usr/local/etc/noderax-agent/config.json",
    "/etc/noderax-agent/config.json",
  ],
  yaml: ["config.yaml", "/etc/noderax-agent/config.yaml"],
};

export const kindOf = (path: string): "json" | "yaml" => (/^\.ya?ml$/i.test(extname(path)) ? "yaml" : "json");

// Characters: ten thousand times what a configuration needs.
const MAX_BYTES = MIB;

export interface OpenedFile {
  readonly text: string;
  readonly owner: number;
  /** Permission bits. */
  readonly mode: number;
}

/**
 * Undefined when there is no such file. Throws an AgentError for anything but a small regular file that we
 * can read.
 */
export function openFile(path: string): OpenedFile | undefined {
  let file: number;
  try {
    // Opening a named pipe would block otherwise.
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = errnoOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw unreadable(path, code, error);
  }
  try {
    const { size, uid, mode } = fstatSync(file);
    if ((mode & constants.S_IFMT) !== constants.S_IFREG) throw wrongFile(path, "is not a regular file");
    if (size > MAX_BYTES) throw wrongFile(path, "is larger than 1 MiB: that is no configuration");
    return { text: readFileSync(file, "utf8"), owner: uid, mode: mode & 0o777 };
  } finally {
    closeSync(file);
  }
}

function unreadable(path: string, code: unknown, cause: unknown): AgentError {
  if (code !== "EACCES" && code !== "EPERM") return wrongFile(path, `cannot be read: ${messageOf(cause)}`);
  return new AgentError("config.permission", `${path} cannot be read: permission denied`, {
    exit: exit.refused,
    hint: "Run it with sudo, or name another file with --config.",
    cause,
  });
}

const wrongFile = (path: string, problem: string): AgentError =>
  new AgentError("config.file", `${path} ${problem}`, { exit: exit.usage });

/**
 * Parses a configuration file into entries. Throws an AgentError with line and column when it is malformed.
 */
async function parseFile(path: string, text: string): Promise<readonly FileEntry[]> {
  try {
    if (kindOf(path) === "json") return jsonEntries(text);
    const { scanYaml } = await import("./yaml.ts");
    return scanYaml(text);
  } catch (error) {
    throw malformed(path, error);
  }
}

/** Returns the error for a configuration file that cannot be parsed. */
export function malformed(path: string, error: unknown): AgentError {
  const { at, message } =
    error instanceof SyntaxProblem
      ? error
      : { at: undefined, message: `cannot be read (${messageOf(error)})` };
  const place = at === undefined ? path : `${path}:${at.line}:${at.column}`;
  return new AgentError("config.syntax", `${place}: ${message}`, { exit: exit.usage, cause: error });
}

function jsonEntries(text: string): FileEntry[] {
  if (text.trim() === "") return [];
  const seen = new Map<string, number>();
  // Counts lines from key to key: from the beginning each time would be quadratic.
  let counted = { offset: 0, line: 1 };
  return scanJson(text).members.map(({ key, value, keyStart }) => {
    const line =
      counted.line + position(text.slice(counted.offset, keyStart), keyStart - counted.offset).line - 1;
    counted = { offset: keyStart, line };
    const first = seen.get(key);
    if (first !== undefined) {
      throw new SyntaxProblem(`${key} stands twice, first in line ${first}`, position(text, keyStart));
    }
    seen.set(key, line);
    return { key, value, line };
  });
}

export interface Reading {
  /** As root, take over a file that another user owns in the agent's own directory; else it is only read. */
  readonly takeOver: boolean;
  readonly warnings: string[];
  /** Ignored files of the working directory, which must not be written either. */
  readonly passedOver: Set<string>;
}

/**
 * Reads the file at `path`, which is absolute. As root, throws an AgentError when another user could change
 * it.
 */
export async function readTrustedFile(path: string, reading: Reading): Promise<ConfigFile | undefined> {
  const opened = openTrusted(path, reading);
  return opened && configFile(path, kindOf(path), await parseFile(path, opened.text), opened);
}

/**
 * Opens a file that configures the agent. As root, takes it over where `reading` says so; throws an
 * AgentError for one that another user could change.
 */
export function openTrusted(path: string, { takeOver, warnings }: Reading): OpenedFile | undefined {
  const first = openFile(path);
  if (first === undefined || !isRoot()) return first;
  if (!takeOver) {
    requireTrusted(path, "configuration", { passShared: true });
    return first;
  }
  const taken = secure(path, "configuration", { passShared: true });
  warnings.push(...taken);
  if (taken.length > 0) warnings.push(`check that ${path} says what it should: root obeys it from now on`);
  const opened = openFile(path);
  // Checks the open file: others may exchange the path where they can write to a directory above.
  if (opened !== undefined && (opened.owner !== 0 || (opened.mode & 0o022) !== 0))
    throw wrongFile(path, "was exchanged while it was checked");
  return opened;
}

/**
 * Reads the first of `candidates` that exists. Ignores one in the working directory, with a warning, when
 * another user could change it (root may work in /tmp), or when it belongs to another program.
 */
export async function findFile(
  candidates: readonly string[],
  cwd: string,
  reading: Reading,
): Promise<ConfigFile | undefined> {
  for (const candidate of candidates) {
    const path = resolve(cwd, candidate);
    const why = candidate.startsWith("/") ? undefined : await whyPassedOver(path);
    if (why !== undefined) {
      reading.warnings.push(`${path} is not read: ${why}`);
      reading.passedOver.add(path);
      continue;
    }
    const file = await readTrustedFile(path, reading);
    if (file !== undefined) return file;
  }
  return undefined;
}

async function whyPassedOver(path: string): Promise<string | undefined> {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isFile() === true && stat.size > MAX_BYTES)
    return "it is larger than 1 MiB: that is no configuration";
  const opened = openFile(path);
  if (opened === undefined) return undefined;
  if (await isAnotherPrograms(path, opened.text))
    return "no setting of this agent stands in it, so it is another program's";
  return distrusted(path, opened, 0o002);
}

async function isAnotherPrograms(path: string, text: string): Promise<boolean> {
  try {
    return isForeign(await parseFile(path, text));
  } catch {
    return mentionsNoKey(text);
  }
}

export const configFile = (
  path: string,
  kind: FileKind,
  entries: readonly FileEntry[],
  { mode }: OpenedFile,
): ConfigFile => ({ path, kind, entries, exposed: (mode & 0o044) !== 0 });

/**
 * Returns why a file of the working directory is ignored; undefined if it is used. `forbidden`: permission
 * bits.
 */
export function distrusted(path: string, { owner, mode }: OpenedFile, forbidden: number): string | undefined {
  if (isRoot()) {
    const distrust = distrustOf(path, { passShared: true });
    return distrust && `${distrust.problem}; mend it with: ${distrust.mend}`;
  }
  if (owner !== 0 && owner !== process.getuid?.()) return "it belongs to another user";
  return (mode & forbidden) === 0 ? undefined : "others than its owner may write it";
}
