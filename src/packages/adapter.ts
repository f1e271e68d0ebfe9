// The interface of a package manager: command lines, and what their output means. The adapters are pure.

export type PackageAction = "install" | "remove" | "purge";

/** How the system's own database sees a package. `config-files`: removed, its configuration is left. */
export type PackageStatus = "installed" | "held" | "broken" | "config-files";

export interface InstalledPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  readonly description: string;
  readonly status: PackageStatus;
}

export interface FoundPackage {
  readonly name: string;
  /** Empty when the manager names none. */
  readonly version: string;
  readonly description: string;
}

/** What would happen to one package. An absent version is unknown. */
export interface PlannedChange {
  readonly change: "install" | "upgrade" | "downgrade" | "reinstall" | "remove" | "purge";
  readonly name: string;
  readonly from?: string;
  readonly to?: string;
}

/** A program that only reads, and the meaning of its output. */
export interface PackageQuery<Answer> {
  readonly argv: readonly string[];
  /** Exit statuses that are answers, too; 0 always is. */
  readonly alsoFine?: readonly number[];
  readonly parse: (stdout: string) => Answer;
}

/**
 * How a lock shows. `record`: in /proc/locks. `pid`: the file holds the pid of its owner. `file`: the file exists, and its
 * owner has it open.
 */
export interface PackageLock {
  readonly kind: "record" | "pid" | "file";
  readonly path: string;
}

export interface PackageManager {
  /** The program, as its users call it: "apt". */
  readonly name: string;
  readonly locks: readonly PackageLock[];
  /** Added to the environment of every program. */
  readonly environment: Readonly<Record<string, string>>;
  /** What the log says of configuration files, where the manager has a policy. */
  readonly policy: string;
  readonly list: PackageQuery<InstalledPackage[]>;
  readonly search: (words: readonly string[]) => PackageQuery<FoundPackage[]>;
  /** The versions of found packages by name, where the search does not tell them. */
  readonly versions?: (
    words: readonly string[],
    names: readonly string[],
  ) => PackageQuery<ReadonlyMap<string, string>>;
  /** Which of these names the manager knows, where it would read an unknown one as a pattern. */
  readonly known?: (names: readonly string[]) => PackageQuery<ReadonlySet<string>>;
  readonly preview: (action: PackageAction, names: readonly string[]) => PackageQuery<PlannedChange[]>;
  /** Refreshes the lists of what can be installed; undefined where the manager does that itself, or must not. */
  readonly lists?: {
    readonly argv: readonly string[];
    /** Files or directories whose newest change is the age of the lists. */
    readonly stamps: readonly string[];
    /** A directory that has a file with this in its name when there are lists. */
    readonly directory: string;
    readonly file: RegExp;
  };
  /** Ends an interrupted run of the manager, when a file matches. */
  readonly repair?: { readonly argv: readonly string[]; readonly directory: string; readonly file: RegExp };
  /** Fetches what the installation needs, and changes nothing else: this may be ended at any moment. */
  readonly download?: (names: readonly string[]) => readonly string[];
  readonly apply: (action: PackageAction, names: readonly string[]) => readonly string[];
  /** Whether `download` and `apply` write status lines to descriptor 3. */
  readonly statusLines: boolean;
  /** What an exit status of `apply` means. */
  readonly exitStatus: (code: number) => ExitMeaning;
}

export interface ExitMeaning {
  readonly ok: boolean;
  /** What the status says, where it says more than "failed". */
  readonly text?: string;
  /** The lock was taken by another process in between: wait and try again. */
  readonly locked?: boolean;
  readonly rebootRequired?: boolean;
}

/** Any status but 0 is a failure without a meaning of its own. */
export const plainExit = (code: number): ExitMeaning => ({ ok: code === 0 });

/** Separates fields: the ASCII unit separator, which no package's text contains. */
export const FIELD = "\x1f";
/** Ends a record: a summary may hold line breaks. */
export const RECORD = "\x1e";

/** Returns the records of a query whose format was made with FIELD and RECORD. */
export const recordsOf = (text: string): string[][] =>
  text
    .split(RECORD)
    .map((record) => record.replace(/^\n/, ""))
    .filter((record) => record !== "")
    .map((record) => record.split(FIELD));

/** One line, without control characters and doubled blanks. */
export const flatText = (text: string): string => text.replace(/[\s\p{Cc}]+/gu, " ").trim();

/** A word for managers that search by POSIX extended regular expressions: "g++" must not be one. */
export const escapeRegex = (word: string): string => word.replace(/[\\^$.|?*+()[\]{}]/g, "\\$&");
