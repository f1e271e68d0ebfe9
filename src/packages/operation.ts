// What the steps of one operation on packages share: the manager, the log, the request to stop, and what they noticed.
import type { PackageAction, PackageManager } from "./adapter.ts";

export interface PackageOperation {
  readonly action: PackageAction;
  /** Checked names, each once. */
  readonly names: readonly string[];
}

export interface PackageLog {
  readonly out: (line: string) => void;
  readonly err: (line: string) => void;
}

export interface OperationRun {
  readonly manager: PackageManager;
  readonly log: PackageLog;
  readonly stop: AbortSignal;
  readonly warnings: string[];
  /** Configuration files that were kept. */
  readonly conffiles: Set<string>;
  /** What failed about single packages: "nxfail: … script subprocess returned error exit status 3". */
  readonly failures: Set<string>;
  /** Adds a warning to log and report. */
  readonly warn: (text: string) => void;
}

/** Returns the state of an operation that begins. */
export function newRun(manager: PackageManager, log: PackageLog, stop: AbortSignal): OperationRun {
  const warnings: string[] = [];
  return {
    manager,
    log,
    stop,
    warnings,
    conffiles: new Set(),
    failures: new Set(),
    warn(text) {
      warnings.push(text);
      log.err(text);
    },
  };
}
