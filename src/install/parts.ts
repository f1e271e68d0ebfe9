// Lists what an installation on this machine consists of. Pure.
import type { Duration } from "../lib/duration.ts";
import { dirname, join } from "node:path";
import { hashOf } from "./found.ts";
import {
  CONFIG_DIRECTORY,
  PROGRAM_DIRECTORY,
  SHARED,
  STATE_DIRECTORY,
  TASK_HOME,
  TASK_USER,
  places,
} from "./places.ts";
import type { Part } from "./plan.ts";
import type { InitSystem } from "./service.ts";
import { DROP_IN, renderDropIn, renderInitScript, renderUnit } from "./unit.ts";

export interface PartsOptions {
  /** The executable to install, and its hash. */
  readonly from: string;
  readonly hash: string;
  readonly config: string;
  /** Where the agent keeps its state, by its settings. */
  readonly stateDirectory: string;
  readonly init: InitSystem;
  readonly systemd: number;
  readonly user: TaskUser;
  readonly shutdownTimeout: Duration;
  /** The content of the proxy file; undefined when no proxy is set: an earlier file stays. */
  readonly proxy: string | undefined;
  /** Certificate authorities to keep a copy of. */
  readonly authorities: string | undefined;
  /** Completions and manual page, below SHARED. */
  readonly shared: readonly SharedText[];
}

/** A text among those of other programs, for a program that looks for it there. */
export interface SharedText {
  readonly path: string;
  readonly text: string;
}

export type TaskUser = "ours" | "other";

/**
 * Returns "ours" for the default name when no account has it yet, or its home is one that an installation chose: ours, or
 * the state directory, where a Go agent's installation puts it. Pure.
 */
export function taskUserOf(name: string, account: { readonly home: string } | undefined): TaskUser {
  if (name !== TASK_USER) return "other";
  return account === undefined || account.home === TASK_HOME || isInState(account.home) ? "ours" : "other";
}

/** Returns whether a home directory lies in the state directory, where tasks must not write. */
export const isInState = (home: string): boolean => `${home}/`.startsWith(`${STATE_DIRECTORY}/`);

const USER_PARTS: readonly Part[] = [
  { kind: "user", path: TASK_USER, home: TASK_HOME },
  { kind: "directory", path: TASK_HOME, mode: 0o750, isData: true, owner: TASK_USER },
];

/** Lists the parts in the order in which they are created; they are removed in the reverse order. Pure. */
export function partsOf(options: PartsOptions): Part[] {
  const { from, hash, config, stateDirectory, init, user, proxy, authorities, shared } = options;
  const unit = renderUnit({ ...options, program: places.program });
  const script = renderInitScript({ program: places.program, config });
  return [
    // First, for the record of what is made after it lies in it.
    // Mode x for others: a user who asks the agent gets its refusal, not "not found". Its files are closed to them.
    { kind: "directory", path: STATE_DIRECTORY, mode: 0o711, isData: true },
    ...(user === "ours" ? USER_PARTS : []),
    { kind: "directory", path: PROGRAM_DIRECTORY, mode: 0o755, isData: false },
    { kind: "directory", path: CONFIG_DIRECTORY, mode: 0o755, isData: true },
    ...(stateDirectory === STATE_DIRECTORY ? [] : [ownersDirectory(stateDirectory)]),
    ...(proxy === undefined ? [] : [{ ...text(places.proxy, proxy, 0o600), isData: true }]),
    ...(authorities === undefined ? [] : [{ ...text(places.authorities, authorities, 0o644), isData: true }]),
    { kind: "program", path: places.program, from, hash },
    { kind: "link", path: places.link, target: places.program },
    ...sharedDirectories(shared).map(sharedDirectory),
    ...shared.map(({ path, text: content }) => text(path, content, 0o644)),
    ...(init === "systemd" ? [text(places.unit, unit, 0o644)] : []),
    ...(init === "openrc" ? [text(places.initScript, script, 0o755)] : []),
  ];
}

/** A state directory of the owner's choice: removed only if an installation made it, for other things may lie in it. */
const ownersDirectory = (path: string): Part => ({
  kind: "directory",
  path,
  mode: 0o711,
  isData: true,
  isShared: true,
});

/**
 * Lists the parts on this machine. Where a package brings the program, its link, unit and texts, these are left out, and a
 * drop-in is added where the package's unit does not fit the settings. One of an earlier installation is emptied. Pure.
 */
export function partsHere(
  options: PartsOptions,
  { isPackaged, hasDropIn }: { readonly isPackaged: boolean; readonly hasDropIn: boolean },
): Part[] {
  const all = partsOf(options);
  const dropIn = (isPackaged ? renderDropIn(options) : undefined) ?? (hasDropIn ? DROP_IN : undefined);
  const directory = dirname(places.packageDropIn);
  return [
    ...(isPackaged ? all.filter(({ kind, path }) => !isOfPackage(kind, path)) : all),
    ...(dropIn === undefined || options.init !== "systemd"
      ? []
      : [
          ...[dirname(dirname(directory)), dirname(directory), directory].map(sharedDirectory),
          text(places.packageDropIn, dropIn, 0o644),
        ]),
  ];
}

const isOfPackage = (kind: Part["kind"], path: string): boolean =>
  kind === "program" ||
  kind === "link" ||
  path === PROGRAM_DIRECTORY ||
  path === places.unit ||
  path.startsWith(`${SHARED}/`);

/** Lists the directories between SHARED and the texts, each once and before those below it. */
function sharedDirectories(texts: readonly SharedText[]): readonly string[] {
  const all = new Set<string>();
  for (const { path } of texts) {
    const names = path.slice(SHARED.length + 1).split("/");
    for (let depth = 1; depth < names.length; depth++) all.add(join(SHARED, ...names.slice(0, depth)));
  }
  return [...all];
}

const sharedDirectory = (path: string): Part => ({
  kind: "directory",
  path,
  mode: 0o755,
  isData: false,
  isShared: true,
});

const text = (path: string, content: string, mode: number): Extract<Part, { kind: "text" }> => ({
  kind: "text",
  path,
  text: content,
  hash: hashOf(content),
  mode,
});
