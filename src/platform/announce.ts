// Announces an agent or sandbox to commands of its user: one private file a process, in a directory of that
// user.
import {
  accessSync,
  constants,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  rmdirSync,
} from "node:fs";
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

/**
 * Returns where announcements are: TMPDIR where it is set, else the runtime directory of this user, which a service with a
 * private /tmp shares with everybody else; /tmp where there is none.
 */
export function announcementPlace(environment: NodeJS.ProcessEnv, user = uid()): string {
  const { TMPDIR, XDG_RUNTIME_DIR } = environment;
  if (TMPDIR !== undefined && TMPDIR !== "") return TMPDIR;
  const runtime = user === 0 ? "/run" : XDG_RUNTIME_DIR;
  if (runtime === undefined) return "/tmp";
  // Our own unit may write to the directory in it alone.
  const isUsable = [runtime, directoryIn(runtime, user)].some((path) => isWritableBy(user, path));
  return isUsable ? runtime : "/tmp";
}

function isWritableBy(user: number, directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK);
    return lstatSync(directory).uid === user;
  } catch {
    return false;
  }
}

const directoryIn = (temporary: string, user = uid()): string => join(temporary, `noderax-${user}`);
const pidNamespace = (): string => readlinkSync("/proc/self/ns/pid");

/**
 * Makes `announced` of this user return the document until it is disposed of. Throws "announce.place" when
 * the directory is not private.
 */
export function announce(
  kind: AnnouncementKind,
  document: object,
  temporary = announcementPlace(process.env),
): Disposable {
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
  return {
    [Symbol.dispose]() {
      rmSync(file, { force: true });
      try {
        rmdirSync(directory);
      } catch {
        // Another process of this user is announced there.
      }
    },
  };
}

/** Returns the documents of live processes of this user. Ignores files that others could have written. */
export function announced<const S extends v.GenericSchema>(
  kind: AnnouncementKind,
  schema: S,
  temporary = announcementPlace(process.env),
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
