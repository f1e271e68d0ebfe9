// Loads the whole tree of commands as plain data, from which completions and the manual page are rendered.
import type { ArgDef } from "citty";
import { optionOf } from "../config/options.ts";
import { type Command, load } from "./command.ts";
import { type ConfigFlags, configFlags } from "./config-flags.ts";
import { type Flag, flagsOf, positionalsOf, written } from "./flags.ts";

/** What may follow: one of a few words, a path, or text that nothing here can complete. */
export type CompletedValue = "file" | "directory" | "text" | readonly string[];

export interface FlagOutline {
  /** As typed: "--email", "-f". */
  readonly spellings: readonly string[];
  readonly description: string;
  /** Undefined for a flag without a value. */
  readonly value: CompletedValue | undefined;
  /** What stands for the value in a text: "FILE". */
  readonly hint: string;
}

export interface ArgumentOutline {
  readonly name: string;
  readonly description: string;
  readonly isRequired: boolean;
  readonly value: CompletedValue;
}

export interface CommandOutline {
  /** Its names: ["config", "set"]; none for the program. */
  readonly path: readonly string[];
  readonly description: string;
  readonly examples: readonly string[];
  /** Without those of the settings. */
  readonly flags: readonly FlagOutline[];
  /** True when every setting is a flag of it, too. */
  readonly takesSettings: boolean;
  readonly arguments: readonly ArgumentOutline[];
  /** Name and description of the arguments after those. */
  readonly rest: { readonly name: string; readonly description: string } | undefined;
  /** The commands directly below: name and description. */
  readonly below: readonly { readonly name: string; readonly description: string }[];
}

/** Lists a command and all below it, each before those below it; hidden ones are left out. */
export async function outlineOf(
  command: Command,
  path: readonly string[] = [],
): Promise<readonly CommandOutline[]> {
  const loaded = await Promise.all(
    Object.entries(command.subCommands).map(async ([name, entry]) => ({ name, below: await load(entry) })),
  );
  const shown = loaded.filter(({ below }) => !below.hidden);
  const flags = flagsOf(command.args);
  const own: CommandOutline = {
    path,
    description: command.description,
    examples: command.examples,
    flags: flags.filter((flag) => settingOf(flag) === undefined).map(flagOutline),
    takesSettings: flags.some((flag) => settingOf(flag) !== undefined),
    arguments: positionalsOf(command.args).map(({ name, required, definition }) => ({
      name,
      description: definition.description ?? "",
      isRequired: required,
      value: valueOf(definition),
    })),
    rest: command.rest,
    below: shown.map(({ name, below }) => ({ name, description: below.description })),
  };
  const deeper = await Promise.all(shown.map(({ name, below }) => outlineOf(below, [...path, name])));
  return [own, ...deeper.flat()];
}

/** The flags of all settings. */
export const settingFlags = (): readonly FlagOutline[] =>
  flagsOf(configFlags)
    .filter((flag) => settingOf(flag) !== undefined)
    .map(flagOutline);

type Setting = ConfigFlags[Exclude<keyof ConfigFlags, "config">]["setting"];

function settingOf({ definition }: Flag): Setting | undefined {
  return "setting" in definition ? (definition.setting as Setting) : undefined;
}

function flagOutline(flag: Flag): FlagOutline {
  const { spellings, takesValue, definition } = flag;
  const setting = settingOf(flag);
  const value = setting === undefined ? valueOf(definition) : valueOfSetting(setting);
  return {
    spellings: spellings.map(written),
    description: definition.description ?? "",
    value: takesValue ? value : undefined,
    hint: definition.valueHint ?? "VALUE",
  };
}

/** A hint like stdout|stderr lists all values there are. */
function valueOf(definition: ArgDef): CompletedValue {
  const { valueHint = "" } = definition;
  if (definition.type === "enum") return definition.options ?? [];
  if (/^\w+(\|\w+)+$/.test(valueHint)) return valueHint.split("|");
  if (/^(file|path)$/i.test(valueHint)) return "file";
  return /^dir(ectory)?$/i.test(valueHint) ? "directory" : "text";
}

function valueOfSetting(setting: Setting): CompletedValue {
  const option = optionOf(setting);
  if (option.type === "enum") return option.values;
  return option.type === "path" ? "file" : "text";
}
