// Types of a row of the settings table and of its value.
import type { Duration } from "../lib/duration.ts";

export type Plane = "noderax" | "caravanserai";

interface Row {
  /** One line for the README and `help settings`: what it does. */
  readonly doc: string;
  /** The planes that use it. */
  readonly planes: readonly Plane[];
  /** Variables besides `NODERAX_<KEY>`, which comes first; the first that is set wins. */
  readonly env?: readonly string[];
  /** Flags besides `--key-with-dashes`. */
  readonly flags?: readonly string[];
  /** Masked wherever it is shown. */
  readonly secret?: true;
  /** False when a running agent notices a change. */
  readonly restart?: false;
  /** A wrong value is only a warning, and the default applies: other programs use the same variable. */
  readonly lenient?: true;
  /** Empty text is a value, which switches the feature off; for other keys it means "not set here". */
  readonly blank?: true;
  /** Text for the documentation instead of a default that depends on the machine. */
  readonly defaultNote?: string;
}

/** Returns what is wrong, worded to follow `"value" `: "is not an IP address (…)". */
type Check<T> = (value: T) => string | undefined;

export interface StringOption extends Row {
  readonly type: "string";
  readonly default?: string;
  readonly check?: Check<string>;
  readonly normalise?: (value: string) => string;
}
export interface UrlOption extends Row {
  readonly type: "url";
  readonly default?: string;
  /** Put in front of an address without one. */
  readonly scheme: "http" | "https";
  /** The default when the program is called `cara-agent`. */
  readonly caraDefault?: string;
}
export interface BooleanOption extends Row {
  readonly type: "boolean";
  readonly default?: boolean;
  /** Returns a warning for the owner about an allowed value. */
  readonly warn?: Check<boolean>;
}
export interface NumberOption extends Row {
  readonly type: "integer" | "number";
  readonly default?: number;
  readonly min: number;
  readonly max: number;
}
export interface DurationOption extends Row {
  readonly type: "duration";
  /** As a user writes it: "30s". Every duration of the table must be more than zero. */
  readonly default?: string;
  readonly warn?: Check<Duration>;
}
export interface SizeOption extends Row {
  readonly type: "size";
  /** As a user writes it: "1GiB". */
  readonly default?: string;
}
export interface PathOption extends Row {
  readonly type: "path";
  readonly default?: string;
  readonly mustExist?: true;
}
export interface EnumOption extends Row {
  readonly type: "enum";
  readonly values: readonly string[];
  readonly default?: string;
}
export interface ListOption extends Row {
  readonly type: "list";
  readonly default?: readonly string[];
  readonly check?: Check<readonly string[]>;
}

export type Option =
  | StringOption
  | UrlOption
  | BooleanOption
  | NumberOption
  | DurationOption
  | SizeOption
  | PathOption
  | EnumOption
  | ListOption;

/** Durations are milliseconds, sizes bytes, paths absolute. */
export type OptionValue = string | number | boolean | readonly string[];

/** Type of the value of a row. */
export type ValueOf<O extends Option> = O extends EnumOption
  ? O["values"][number]
  : O extends BooleanOption
    ? boolean
    : O extends NumberOption | SizeOption
      ? number
      : O extends DurationOption
        ? Duration
        : O extends ListOption
          ? readonly string[]
          : string;
