// Derives a flag for every setting from the table of settings, and loads the configuration with those flags.
import type { OptionKey, options } from "../config/options.ts";
import { flagNames, optionKeys, optionOf } from "../config/options.ts";
import { type Config, loadConfig } from "../config/load.ts";
import { type LoadOptions, type Sources, readSources } from "../config/sources.ts";
import { invokedAs } from "./program.ts";

type Dashed<S extends string> = S extends `${infer Head}_${infer Tail}` ? `${Head}-${Dashed<Tail>}` : S;

type SettingFlag<K extends OptionKey> = {
  readonly type: (typeof options)[K]["type"] extends "boolean" ? "boolean" : "string";
  readonly description: string;
  readonly alias: string[];
  /** The setting this flag gives. `--help` mentions all settings in one line. */
  readonly setting: K;
};

export type ConfigFlags = { readonly [K in OptionKey as Dashed<K>]: SettingFlag<K> } & {
  readonly config: { readonly type: "string"; readonly valueHint: "FILE"; readonly description: string };
};

/** For commands that load the configuration: `args: { ...configFlags, … }`. */
// The names are computed, which the compiler cannot follow: the cast states what `Dashed` says.
export const configFlags = {
  config: { type: "string", valueHint: "FILE", description: "read this configuration file and no other" },
  ...Object.fromEntries(optionKeys.map((key) => [flagNames(key)[0], settingFlag(key)])),
} as ConfigFlags;

function settingFlag(key: OptionKey): object {
  const { type, doc } = optionOf(key);
  return {
    type: type === "boolean" ? "boolean" : "string",
    description: doc,
    alias: flagNames(key).slice(1),
    setting: key,
  };
}

type Args = Readonly<Record<string, unknown>>;
type FileOptions = Pick<LoadOptions, "requireFile" | "takeOver">;

/** Loads the configuration, flags of the command included. Throws "config.*" (exit 2) when a value or file is wrong. */
export const configFrom = (args: Args, options: FileOptions = {}): Promise<Config> =>
  loadConfig({ ...loadOptions(args), ...options });

/** Reads the sources of the configuration without checking values, for commands that must work while one is wrong. */
export const sourcesFrom = (args: Args, options: FileOptions = {}): Promise<Sources> =>
  readSources({ ...loadOptions(args), ...options });

function loadOptions({ config, ...args }: Args): LoadOptions {
  return {
    ...(typeof config === "string" && config !== "" && { configFile: config }),
    flags: settingsOf(args),
    env: process.env,
    cwd: process.cwd(),
    invokedAs: invokedAs(),
  };
}

/** Picks the settings among a command's arguments, as text. */
export function settingsOf(args: Readonly<Record<string, unknown>>): ReadonlyMap<OptionKey, string> {
  const flags = new Map<OptionKey, string>();
  for (const key of optionKeys) {
    const value = args[flagNames(key)[0]];
    if (typeof value === "string" || typeof value === "boolean") flags.set(key, String(value));
  }
  return flags;
}
