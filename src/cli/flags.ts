// Lists the flags and positional arguments of a command, and finds a flag by any spelling: -x, --x_y, an alias.
import type { ArgDef } from "citty";

export interface Flag {
  /** The name it is declared by, and its argument's. */
  readonly name: string;
  /** The name, then its aliases, without leading dashes. */
  readonly spellings: readonly string[];
  readonly takesValue: boolean;
  readonly definition: ArgDef;
}

export interface Positional {
  readonly name: string;
  readonly required: boolean;
  readonly definition: ArgDef;
}

const help: Flag = {
  name: "help",
  spellings: ["help", "h"],
  takesValue: false,
  definition: { type: "boolean", description: "show this help" },
};

/** Lists the flags of a command, `--help` last. */
export function flagsOf(args: Readonly<Record<string, ArgDef>>): readonly Flag[] {
  const own = Object.entries(args)
    .filter(([, { type }]) => type !== "positional")
    .map(([name, definition]): Flag => ({
      name,
      spellings: [name, ...("alias" in definition ? [definition.alias ?? []].flat() : [])],
      takesValue: definition.type !== "boolean",
      definition,
    }));
  return [...own, help];
}

/** Lists the named positional arguments in their order. They are required unless declared otherwise or with a default. */
export function positionalsOf(args: Readonly<Record<string, ArgDef>>): readonly Positional[] {
  return Object.entries(args)
    .filter(([, { type }]) => type === "positional")
    .map(([name, definition]) => ({
      name,
      required: definition.required !== false && definition.default === undefined,
      definition,
    }));
}

/** Replaces underscores by dashes, for comparison: `--agent_port` is `--agent-port`. */
export const dashed = (spelling: string): string => spelling.replaceAll("_", "-");

/** Writes a flag as people type it: "--email", "-f". */
export const written = (spelling: string): string =>
  spelling.length === 1 ? `-${spelling}` : `--${spelling}`;

/** Finds a flag by any of its spellings, without leading dashes; `undefined` when there is none. */
export const findFlag = (flags: readonly Flag[], spelling: string): Flag | undefined =>
  flags.find(({ spellings }) => spellings.some((known) => dashed(known) === dashed(spelling)));

/** Tells whether an argument is written like a flag: "-" alone (standard input) and negative numbers are not. */
export const looksLikeFlag = (argument: string): boolean => /^-(?!$|\d|\.\d)/.test(argument);
