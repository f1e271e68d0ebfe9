// Installs, removes and purges packages: waits for the lock, refreshes the lists, downloads, lets the manager work, and reports
// what really changed.
//
//   waiting → refreshing → downloading      a stop ends these at once: nothing has changed
//   working                                 a stop waits: a package manager that is interrupted leaves broken packages
import { AgentError, messageOf } from "../lib/agent-error.ts";
import { sleep } from "../lib/loop.ts";
import { namesIn } from "../platform/lenient-reads.ts";
import { type StatusLine, parseStatusLine, statusText } from "./apt-status.ts";
import { type PackageChanges, changeLines, changesBetween } from "./changes.ts";
import type { InstalledPackage, PackageAction, PackageManager } from "./adapter.ts";
import { refreshLists } from "./lists.ts";
import { LOCK_POLL, waitForLock } from "./lock-wait.ts";
import { bareName } from "./names.ts";
import { type OperationRun, type PackageLog, type PackageOperation, newRun } from "./operation.ts";
import { type ProgramEnd, askManager, runManager } from "./program.ts";
import type { PackageReport } from "./report.ts";
import { restartNeeded } from "./restart-needed.ts";

/** How often a program is run again because another process took the lock between our check and its start. */
const TRIES = 20;

/** Resolves with what changed, also when the operation failed or `stop` aborted. Throws "packages.failed" before anything changes. */
export async function applyPackages(
  manager: PackageManager,
  operation: PackageOperation,
  log: PackageLog,
  stop: AbortSignal,
): Promise<PackageReport> {
  const run = newRun(manager, log, stop);
  const before = await askManager(manager, manager.list);
  let end: Ended;
  try {
    end = await carryOut(run, operation, before);
  } catch (error) {
    if (!stop.aborted && !(error instanceof AgentError)) throw error;
    end = { error: stop.aborted ? "stopped before anything was changed" : messageOf(error), reboot: false };
  }
  const changes = changesBetween(before, await askManager(manager, manager.list));
  for (const line of changeLines(changes)) log.out(line);
  return reportOf(run, operation, before, changes, end);
}

interface Ended {
  readonly error: string | undefined;
  readonly reboot: boolean;
}

async function carryOut(
  run: OperationRun,
  { action, names }: PackageOperation,
  before: readonly InstalledPackage[],
): Promise<Ended> {
  const { manager, log, stop } = run;
  log.out(`${manager.name}: ${action} ${names.join(" ").slice(0, 2_000)}`);
  log.out(manager.policy);
  const targets = action === "install" ? names : presentOf(names, before, action);
  for (const name of names) if (!targets.includes(name)) run.warn(`${name} is not installed`);
  if (targets.length === 0) return { error: undefined, reboot: false };

  await waitForLock(manager, log.out, stop);
  await repair(run);
  if (action === "install") {
    await refreshLists(run, targets);
    await download(run, targets);
  }
  stop.throwIfAborted();
  return work(run, action, targets);
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

/** Finishes a run that was interrupted, as the manager itself asks for: it refuses everything else before. */
async function repair({ manager, log, warn }: OperationRun): Promise<void> {
  const { repair: way } = manager;
  if (way === undefined || !namesIn(way.directory).some((name) => way.file.test(name))) return;
  warn(`an earlier run of ${manager.name} was interrupted; first: ${way.argv.join(" ")}`);
  await runManager(manager, way.argv, { ...log, status: () => {} });
}

async function download(run: OperationRun, names: readonly string[]): Promise<void> {
  const { manager, stop } = run;
  const argv = manager.download?.(names);
  if (argv === undefined) return;
  const end = await runWithLock(run, argv, { output: () => {}, ends: stop });
  stop.throwIfAborted();
  if (!manager.exitStatus(end.code).ok) throw new AgentError("packages.failed", errorOf(run, end));
}

/** From here on a stop waits for the end. */
async function work(run: OperationRun, action: PackageAction, names: readonly string[]): Promise<Ended> {
  const { manager, log, stop, warn } = run;
  const announce = (): void =>
    warn(
      `a stop was asked for: ${manager.name} is left to finish, since an interrupted one leaves broken packages`,
    );
  stop.addEventListener("abort", announce, { once: true });
  try {
    const end = await runWithLock(run, manager.apply(action, names), { output: log.out });
    const meaning = manager.exitStatus(end.code);
    if (meaning.ok && meaning.text !== undefined) warn(meaning.text);
    return {
      error: meaning.ok ? undefined : errorOf(run, end),
      reboot: meaning.rebootRequired ?? false,
    };
  } finally {
    stop.removeEventListener("abort", announce);
  }
}

/**
 * Runs a program again while another process takes the lock before it. `output` receives its standard output: that of a
 * download comes again with the installation. `ends` ends the program itself.
 */
async function runWithLock(
  { manager, log, stop, conffiles, failures }: OperationRun,
  argv: readonly string[],
  { output, ends }: { readonly output: (line: string) => void; readonly ends?: AbortSignal },
): Promise<ProgramEnd> {
  let last: StatusLine | undefined;
  const status = (line: string): void => {
    const now = parseStatusLine(line);
    if (now === undefined) return;
    if (now.kind === "conffile") conffiles.add(now.subject);
    if (now.kind === "error") failures.add(`${now.subject}: ${now.text}`);
    const text = statusText(last, now);
    last = now;
    if (text !== undefined) log.out(text);
  };
  for (let tries = 1; ; tries++) {
    const end = await runManager(manager, argv, { out: output, err: log.err, status }, ends);
    if (manager.exitStatus(end.code).locked !== true || tries >= TRIES) return end;
    await waitForLock(manager, log.out, stop);
    await sleep(LOCK_POLL, stop);
  }
}

function errorOf({ manager, failures }: OperationRun, { code, error }: ProgramEnd): string {
  const { text } = manager.exitStatus(code);
  return [`${manager.name}: ${text ?? error}`, ...(text === undefined ? [] : [error]), ...failures].join(
    "; ",
  );
}

function reportOf(
  { manager, warnings, conffiles }: OperationRun,
  { action, names }: PackageOperation,
  before: readonly InstalledPackage[],
  changes: PackageChanges,
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
