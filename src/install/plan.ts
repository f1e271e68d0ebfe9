// Decides what an installation changes on this machine, and what an uninstall removes. Pure: it is given what is there.
import type { Found } from "./found.ts";
import type { Entry, Manifest } from "./manifest.ts";

/** What an installation consists of. Data (configuration, state, the task user's home) is kept by an uninstall. */
export type Part =
  | {
      readonly kind: "directory";
      readonly path: string;
      readonly mode: number;
      readonly isData: boolean;
      /** The user who gets it; otherwise root does, also when it belonged to another user before. */
      readonly owner?: string;
      /** True for one of the system's: it is left as it is where it exists, and removed only if an installation made it. */
      readonly isShared?: boolean;
    }
  | { readonly kind: "program"; readonly path: string; readonly from: string; readonly hash: string }
  | {
      readonly kind: "text";
      readonly path: string;
      readonly text: string;
      readonly hash: string;
      readonly mode: number;
      readonly isData?: boolean;
    }
  | { readonly kind: "link"; readonly path: string; readonly target: string }
  | { readonly kind: "user"; readonly path: string; readonly home: string };

export interface InstallStep {
  readonly part: Part;
  /** "make": nothing is there; "replace": another version is there; "own": other users may write to the directory. */
  readonly how: "make" | "replace" | "own";
}

export interface Refusal {
  readonly path: string;
  readonly why: string;
}

export interface InstallPlan {
  readonly steps: readonly InstallStep[];
  /** Paths that are occupied by something else, which is left alone. */
  readonly refused: readonly Refusal[];
}

const WRITABLE_BY_OTHERS = 0o022;
const isOthers = ({ uid, mode }: { readonly uid: number; readonly mode: number }): boolean =>
  uid !== 0 || (mode & WRITABLE_BY_OTHERS) !== 0;

/** Returns the steps, in the order of the parts. `found` has an entry for the path of every part; for a user, for its name. */
export function planInstall(parts: readonly Part[], found: ReadonlyMap<string, Found>): InstallPlan {
  const steps: InstallStep[] = [];
  const refused: Refusal[] = [];
  for (const part of parts) {
    const is = found.get(part.path) ?? { kind: "missing" };
    if (is.kind === "missing") {
      steps.push({ part, how: "make" });
    } else if (part.kind === "directory") {
      if (part.isShared === true) continue;
      if (is.kind !== "directory") refused.push({ path: part.path, why: "it is no directory" });
      else if (part.owner === undefined && isOthers(is)) steps.push({ part, how: "own" });
    } else if (part.kind === "program" || part.kind === "text") {
      if (is.kind === "directory") refused.push({ path: part.path, why: "it is a directory" });
      else if (is.kind !== "file" || is.hash !== part.hash) steps.push({ part, how: "replace" });
    } else if (part.kind === "link") {
      const isOurs = is.kind === "link" && is.target === part.target;
      if (is.kind === "closed") refused.push({ path: part.path, why: "its directory cannot be written to" });
      else if (!isOurs) refused.push({ path: part.path, why: "something else has this name" });
    }
  }
  return { steps, refused };
}

/** Returns the line about a step, as "make the directory /opt/noderax-agent", for a dry run and the real one. */
export function describeStep({ part, how }: InstallStep): string {
  if (part.kind === "user") return `make the user ${part.path} with the home ${part.home}`;
  if (how === "own") return `give ${part.path} to root`;
  const verb = how === "make" ? "make" : "replace";
  if (part.kind === "directory") return `${verb} the directory ${part.path}`;
  if (part.kind === "link") return `${verb} the link ${part.path} to ${part.target}`;
  return part.kind === "program"
    ? `${how === "make" ? "copy" : "replace"} the program ${part.path}`
    : `${verb === "make" ? "write" : "replace"} ${part.path}`;
}

/** Returns the manifest after the installation. `existed` of a part that an earlier manifest has is taken from there. */
export function recordInstall(
  parts: readonly Part[],
  found: ReadonlyMap<string, Found>,
  earlier: Manifest | undefined,
): Manifest {
  const before = new Map(earlier?.entries.map((entry) => [`${entry.kind} ${entry.path}`, entry]));
  const existedBefore = (part: Part): boolean =>
    before.get(`${part.kind} ${part.path}`)?.existed ??
    (found.get(part.path) ?? { kind: "missing" }).kind !== "missing";
  const recorded = parts.filter((part) => {
    // A file inside a data directory is kept or removed with it.
    if (part.kind === "text") return part.isData !== true;
    return part.kind !== "directory" || part.isShared !== true || !existedBefore(part);
  });
  const entries = recorded.map((part): Entry => {
    const existed = existedBefore(part);
    return {
      path: part.path,
      kind: part.kind,
      existed,
      ...(part.kind === "directory" && part.isData ? { data: true } : {}),
      ...(part.kind === "text" ? { hash: part.hash } : {}),
      ...(part.kind === "link" ? { target: part.target } : {}),
      ...(part.kind === "user" ? { home: part.home } : {}),
    };
  });
  // Keep the entries of an earlier version, and for programs that were removed since: `uninstall` removes those parts, too.
  const current = new Set(parts.map(({ kind, path }) => `${kind} ${path}`));
  const others = [...before].filter(([key]) => !current.has(key)).map(([, entry]) => entry);
  return { version: 1, entries: [...entries, ...others] };
}

export interface Removal {
  readonly remove: readonly {
    readonly path: string;
    readonly kind: Entry["kind"];
    readonly isTree: boolean;
  }[];
  readonly kept: readonly Refusal[];
}

/**
 * Returns what to remove, in the reverse order of creation. Keeps files that were changed since, data unless `purge`, and a
 * user that existed before the installation. Pure.
 */
export function planUninstall(
  manifest: Manifest,
  found: ReadonlyMap<string, Found>,
  purge: boolean,
): Removal {
  const remove: { path: string; kind: Entry["kind"]; isTree: boolean }[] = [];
  const kept: Refusal[] = [];
  for (const { path, kind, existed, data, hash, target } of manifest.entries.toReversed()) {
    const is = found.get(path) ?? { kind: "missing" };
    if (is.kind === "missing") continue;
    const isTree = data === true && purge;
    if (kind === "user") {
      if (existed) kept.push({ path: `the user ${path}`, why: "it was there before" });
      else if (purge) remove.push({ path, kind, isTree: false });
      else
        kept.push({ path: `the user ${path}`, why: "files of its tasks may be left (--purge removes it)" });
    } else if (data === true && !purge && is.kind === "directory" && !is.isEmpty) {
      kept.push({ path, why: "data (--purge removes it)" });
    } else if (kind === "text" && (is.kind !== "file" || is.hash !== hash)) {
      kept.push({ path, why: "it was changed after the installation" });
    } else if (kind === "link" && (is.kind !== "link" || is.target !== target)) {
      kept.push({ path, why: "it leads elsewhere" });
    } else {
      remove.push({ path, kind, isTree });
    }
  }
  return { remove, kept };
}
