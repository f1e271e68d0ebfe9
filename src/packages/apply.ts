// Installs, removes and purges packages: waits for the lock, refreshes the lists, downloads, lets the manager work, and reports
// what really changed.
//
//   waiting → refreshing → downloading      a stop ends these at once: nothing has changed
//   working                                 a stop waits: a package manager that is interrupted leaves broken packages
import { statSync } from "node:fs";
import { epochOf, steadyNow, wallNow } from "../lib/clock.ts";
import { AgentError, messageOf } from "../lib/agent-error.ts";
import { type Duration, days, humanDuration, milliseconds, minutes, seconds } from "../lib/duration.ts";
import { sleep } from "../lib/loop.ts";
import { namesIn } from "../platform/lenient-reads.ts";
import { type StatusLine, parseStatusLine, statusText } from "./apt-status.ts";
import { type PackageChanges, changeLines, changesBetween } from "./changes.ts";
import { describeHolder, lockHolders } from "./lock-holder.ts";
import type { InstalledPackage, PackageAction, PackageManager } from "./adapter.ts";
import { bareName } from "./names.ts";
import { type ProgramEnd, askManager, runManager } from "./program.ts";
import type { PackageReport } from "./report.ts";
import { restartNeeded } from "./restart-needed.ts";

/** Older lists name packages that the repositories have no more. */
const LISTS_MAX_AGE: Duration = days(1);
const LOCK_POLL = seconds(1);
/** How often the log repeats who holds the lock. */
const REPEAT = minutes(1);
/** How often an operation is tried again whose lock was taken between the look and the start. */
const TRIES = 20;

export interface PackageOperation {
  readonly action: PackageAction;
  /** Checked names, each once. */
  readonly names: readonly string[];
}

export interface PackageLog {
  readonly out: (line: string) => void;
  readonly err: (line: string) => void;
}

/** What one operation has noticed so far. */
interface Notes {
  readonly warnings: string[];
  readonly conffiles: Set<string>;
  /** What failed about single packages: "nxfail: … script subprocess returned error exit status 3". */
  readonly failures: Set<string>;
}

/** Resolves with what changed, also when the operation failed or `stop` aborted. Throws "packages.failed" before anything changes. */
export async function applyPackages(
  manager: PackageManager,
  operation: PackageOperation,
  log: PackageLog,
  stop: AbortSignal,
): Promise<PackageReport> {
  const notes: Notes = { warnings: [], conffiles: new Set(), failures: new Set() };
  const before = await askManager(manager, manager.list);
  let end: Ended;
  try {
    end = await carryOut(manager, operation, before, notes, log, stop);
  } catch (error) {
    if (!stop.aborted && !(error instanceof AgentError)) throw error;
    end = { error: stop.aborted ? "stopped before anything was changed" : messageOf(error), reboot: false };
  }
  const changes = changesBetween(before, await askManager(manager, manager.list));
  for (const line of changeLines(changes)) log.out(line);
  return reportOf(manager, operation, before, changes, notes, end);
}

interface Ended {
  readonly error: string | undefined;
  readonly reboot: boolean;
}

async function carryOut(
  manager: PackageManager,
  { action, names }: PackageOperation,
  before: readonly InstalledPackage[],
  notes: Notes,
  log: PackageLog,
  stop: AbortSignal,
): Promise<Ended> {
  const warn = (text: string): void => {
    notes.warnings.push(text);
    log.err(text);
  };
  log.out(`${manager.name}: ${action} ${names.join(" ").slice(0, 2_000)}`);
  log.out(manager.policy);
  const targets = action === "install" ? names : presentOf(names, before, action);
  for (const name of names) if (!targets.includes(name)) warn(`${name} is not installed`);
  if (targets.length === 0) return { error: undefined, reboot: false };

  await waitForLock(manager, log, stop);
  await repair(manager, warn, log);
  if (action === "install") {
    await refreshLists(manager, targets, warn, log, stop);
    await download(manager, targets, notes, log, stop);
  }
  stop.throwIfAborted();
  return work(manager, action, targets, notes, warn, log, stop);
}

/** The names of installed packages: apt would read any other as a pattern, and its trailing + as an installation. */
function presentOf(
  names: readonly string[],
  before: readonly InstalledPackage[],
  action: PackageAction,
): string[] {
  const here = new Set(
    before
      .filter(({ status }) => status !== "config-files" || action === "purge")
      .flatMap(({ name, architecture }) => [name, bareName(name), `${bareName(name)}:${architecture}`]),
  );
  return names.filter((name) => here.has(name));
}

/** Resolves when no other process holds a lock. Rejects when `stop` aborts. */
async function waitForLock(manager: PackageManager, log: PackageLog, stop: AbortSignal): Promise<void> {
  const begun = steadyNow();
  let told = "";
  let toldAt = -Infinity;
  for (;;) {
    stop.throwIfAborted();
    const holders = lockHolders(manager.locks);
    if (holders.length === 0) break;
    refuseStaleLock(manager, holders);
    const key = holders.map(({ pid }) => pid).join(" ");
    if (key !== told || steadyNow() - toldAt > REPEAT) {
      log.out(
        `waiting for the lock of ${manager.name}, held by ${holders.map(describeHolder).join(" and ")}`,
      );
      [told, toldAt] = [key, steadyNow()];
    }
    await sleep(LOCK_POLL, stop);
  }
  if (told !== "") log.out(`the lock is free after ${humanDuration(steadyNow() - begun)}`);
}

/** A lock file that nobody has open is left from a crash, and would be waited for without an end. It is not ours to remove. */
function refuseStaleLock(manager: PackageManager, holders: ReturnType<typeof lockHolders>): void {
  const stale = holders.find(
    ({ path, pid }) =>
      pid === undefined && manager.locks.some((lock) => lock.path === path && lock.kind === "file"),
  );
  if (stale === undefined) return;
  throw new AgentError(
    "packages.locked",
    `${stale.path} exists, but no process has it open: it is left from a run that was interrupted. Make sure that no ${manager.name} runs, then: rm ${stale.path}`,
  );
}

/** Finishes a run that was interrupted, as the manager itself asks for: it refuses everything else before. */
async function repair(manager: PackageManager, warn: (text: string) => void, log: PackageLog): Promise<void> {
  const { repair: way } = manager;
  if (way === undefined || !hasFile(way.directory, way.file)) return;
  warn(`an earlier run of ${manager.name} was interrupted; first: ${way.argv.join(" ")}`);
  await runManager(manager, way.argv, { ...log, status: () => {} });
}

async function refreshLists(
  manager: PackageManager,
  names: readonly string[],
  warn: (text: string) => void,
  log: PackageLog,
  stop: AbortSignal,
): Promise<void> {
  const { lists } = manager;
  const unknown = await unknownOf(manager, names, stop);
  const age = lists === undefined ? 0 : ageOfLists(lists);
  const reason =
    age === undefined
      ? "there are none"
      : age > LISTS_MAX_AGE
        ? `they are ${humanDuration(age)} old`
        : unknown.length > 0
          ? `they do not name ${unknown.join(", ")}`
          : undefined;
  if (lists !== undefined && reason !== undefined) {
    log.out(`refreshing the package lists: ${reason}`);
    const { code, error } = await runManager(manager, lists.argv, { ...log, status: () => {} }, stop);
    stop.throwIfAborted();
    if (code !== 0) warn(`the package lists were not refreshed completely: ${error}`);
  }
  const still = unknown.length === 0 ? [] : await unknownOf(manager, names, stop);
  if (still.length > 0) {
    throw new AgentError("packages.names", `${manager.name} knows no package ${still.join(", ")}`);
  }
}

/** The names that are no package: apt reads some of them as a pattern, which may match hundreds. */
async function unknownOf(
  manager: PackageManager,
  names: readonly string[],
  stop: AbortSignal,
): Promise<string[]> {
  const bare = [...new Set(names.map(bareName))];
  const known = manager.known && (await askManager(manager, manager.known(bare), stop));
  return known === undefined ? [] : bare.filter((name) => !known.has(name));
}

/** Undefined when there are none. */
function ageOfLists({ stamps, directory, file }: NonNullable<PackageManager["lists"]>): Duration | undefined {
  if (!hasFile(directory, file)) return undefined;
  const changed = stamps.map((path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0);
  return milliseconds(Math.max(0, epochOf(wallNow()) - Math.max(...changed)));
}

const hasFile = (directory: string, file: RegExp): boolean =>
  namesIn(directory).some((name) => file.test(name));

async function download(
  manager: PackageManager,
  names: readonly string[],
  notes: Notes,
  log: PackageLog,
  stop: AbortSignal,
): Promise<void> {
  const argv = manager.download?.(names);
  if (argv === undefined) return;
  // Its standard output is that of the installation, which follows.
  const end = await withLock(manager, argv, notes, { ...log, out: () => {} }, log.out, stop, stop);
  stop.throwIfAborted();
  if (!manager.exitStatus(end.code).ok) throw new AgentError("packages.failed", errorOf(manager, end, notes));
}

/** From here on a stop waits for the end. */
async function work(
  manager: PackageManager,
  action: PackageAction,
  names: readonly string[],
  notes: Notes,
  warn: (text: string) => void,
  log: PackageLog,
  stop: AbortSignal,
): Promise<Ended> {
  const say = (): void =>
    warn(
      `a stop was asked for: ${manager.name} is left to finish, since an interrupted one leaves broken packages`,
    );
  stop.addEventListener("abort", say, { once: true });
  try {
    const end = await withLock(manager, manager.apply(action, names), notes, log, log.out, stop);
    const meaning = manager.exitStatus(end.code);
    if (meaning.ok && meaning.text !== undefined) warn(meaning.text);
    return {
      error: meaning.ok ? undefined : errorOf(manager, end, notes),
      reboot: meaning.rebootRequired ?? false,
    };
  } finally {
    stop.removeEventListener("abort", say);
  }
}

/** Runs a program again while another process takes the lock before it. `ends`: ends the program itself. */
async function withLock(
  manager: PackageManager,
  argv: readonly string[],
  notes: Notes,
  log: PackageLog,
  progress: (line: string) => void,
  stop: AbortSignal,
  ends?: AbortSignal,
): Promise<ProgramEnd> {
  let last: StatusLine | undefined;
  const status = (line: string): void => {
    const now = parseStatusLine(line);
    if (now === undefined) return;
    if (now.kind === "conffile") notes.conffiles.add(now.subject);
    if (now.kind === "error") notes.failures.add(`${now.subject}: ${now.text}`);
    const text = statusText(last, now);
    last = now;
    if (text !== undefined) progress(text);
  };
  for (let tries = 1; ; tries++) {
    const end = await runManager(manager, argv, { ...log, status }, ends);
    if (manager.exitStatus(end.code).locked !== true || tries >= TRIES) return end;
    await waitForLock(manager, { ...log, out: progress }, stop);
    await sleep(LOCK_POLL, stop);
  }
}

function errorOf(manager: PackageManager, { code, error }: ProgramEnd, { failures }: Notes): string {
  const { text } = manager.exitStatus(code);
  return [`${manager.name}: ${text ?? error}`, ...(text === undefined ? [] : [error]), ...failures].join(
    "; ",
  );
}

function reportOf(
  manager: PackageManager,
  { action, names }: PackageOperation,
  before: readonly InstalledPackage[],
  changes: PackageChanges,
  { warnings, conffiles }: Notes,
  { error, reboot }: Ended,
): PackageReport {
  const { reboot: reasons, services } = restartNeeded();
  const changed = new Set(
    [changes.installed, changes.upgraded, changes.removed, changes.purged]
      .flat()
      .map(({ name }) => bareName(name)),
  );
  const held = before.filter(({ status }) => status === "held").map(({ name }) => bareName(name));
  return {
    manager: manager.name,
    ...changes,
    unchanged: error === undefined ? names.filter((name) => !changed.has(bareName(name))) : [],
    held: action === "install" ? names.filter((name) => held.includes(bareName(name))) : [],
    conffilesKept: [...conffiles],
    rebootReasons: reasons.length === 0 && reboot ? [`${manager.name} asks for one`] : [...reasons],
    servicesToRestart: [...services],
    warnings: [...warnings],
    ...(error === undefined ? {} : { error }),
  };
}
