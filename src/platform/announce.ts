// Announces an agent or sandbox to commands of its user: one private file a process, in a directory of that
// user.
import { lstatSync, mkdirSync, readFileSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { AgentError } from "../lib/agent-error.ts";
import { writeFileAtomic } from "./atomic-file.ts";
import { identify, isAlive } from "./processes.ts";

export type AnnouncementKind = "agent" | "sandbox";

const Envelope = v.object({
  pid: v.number(),
  start_time: v.string(),
  /** A pid says nothing about a process of another namespace. */
  pid_namespace: v.string(),
  document: v.unknown(),
});

const uid = (): number => process.getuid?.() ?? 0;
const directoryIn = (temporary: string): string => join(temporary, `noderax-${uid()}`);
const pidNamespace = (): string => readlinkSync("/proc/self/ns/pid");

/**
 * Makes `announced` of this user return the document until it is disposed of. Throws "announce.place" when
 * the directory is not private.
 */
export function announce(kind: AnnouncementKind, document: object, temporary = tmpdir()): Disposable {
  const directory = directoryIn(temporary);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  if (!isPrivate(directory, "directory")) {
    throw new AgentError("announce.place", `${directory} belongs to somebody else or is open to others`, {
      hint: "Remove it: without it, commands do not find what runs here by themselves.",
    });
  }
  for (const file of filesIn(directory)) if (isStale(file)) rmSync(file, { force: true });
  const { pid, startTime = "" } = identify(process.pid) ?? { pid: process.pid };
  const file = join(directory, `${kind}-${pid}.json`);
  const envelope = { pid, start_time: startTime, pid_namespace: pidNamespace(), document };
  writeFileAtomic(file, `${JSON.stringify(envelope)}\n`);
  return { [Symbol.dispose]: () => rmSync(file, { force: true }) };
}

/** Returns the documents of live processes of this user. Ignores files that others could have written. */
export function announced<const S extends v.GenericSchema>(
  kind: AnnouncementKind,
  schema: S,
  temporary = tmpdir(),
): { readonly pid: number; readonly document: v.InferOutput<S> }[] {
  const directory = directoryIn(temporary);
  if (!isPrivate(directory, "directory")) return [];
  const files = filesIn(directory).filter((file) => file.startsWith(join(directory, `${kind}-`)));
  return files.flatMap((file) => {
    const envelope = read(file);
    if (envelope === undefined || !isRunning(envelope)) return [];
    const parsed = v.safeParse(schema, envelope.document);
    return parsed.success ? [{ pid: envelope.pid, document: parsed.output }] : [];
  });
}

const filesIn = (directory: string): string[] =>
  readdirSync(directory)
    .filter((name) => /^[a-z]+-\d+\.json$/.test(name))
    .toSorted()
    .map((name) => join(directory, name));

/** Undefined for anything but an announcement, and for one that is being removed. */
function read(file: string): v.InferOutput<typeof Envelope> | undefined {
  try {
    if (!isPrivate(file, "file")) return undefined;
    const parsed = v.safeParse(Envelope, JSON.parse(readFileSync(file, "utf8")));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}

const isRunning = ({ pid, start_time, pid_namespace }: v.InferOutput<typeof Envelope>): boolean =>
  pid_namespace === pidNamespace() && isAlive({ pid, startTime: start_time });

/** Returns true for the file of a process that has ended without removing it. */
function isStale(file: string): boolean {
  const envelope = read(file);
  return envelope !== undefined && envelope.pid_namespace === pidNamespace() && !isRunning(envelope);
}

/** Returns whether it is ours, of that kind, no symbolic link, and closed to all others. */
function isPrivate(path: string, kind: "directory" | "file"): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined || stat.uid !== uid() || (stat.mode & 0o077) !== 0) return false;
  return kind === "directory" ? stat.isDirectory() : stat.isFile();
}
