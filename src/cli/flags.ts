// The flags of one command and their spellings: one dash or two, underscores for dashes, aliases, `no-` for booleans.
import type { ArgDef } from "citty";

export interface Flag {
  /** The name it is declared by, and its argument's. */
  readonly name: string;
  /** Every spelling, the name first, without dashes in front. */
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

/** The flags of a command; `--help` is one of every command's. */
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

/** The named positional arguments in their order. Required unless they say otherwise or have a default. */
export function positionalsOf(args: Readonly<Record<string, ArgDef>>): readonly Positional[] {
  return Object.entries(args)
    .filter(([, { type }]) => type === "positional")
    .map(([name, definition]) => ({
      name,
      required: definition.required !== false && definition.default === undefined,
      definition,
    }));
}

/** Spellings are compared in this form: `--agent_port` is `--agent-port`. */
export const dashed = (spelling: string): string => spelling.replaceAll("_", "-");

/** "--email", "-f". */
export const written = (spelling: string): string =>
  spelling.length === 1 ? `-${spelling}` : `--${spelling}`;

export const findFlag = (flags: readonly Flag[], spelling: string): Flag | undefined =>
  flags.find(({ spellings }) => spellings.some((known) => dashed(known) === dashed(spelling)));

/** True for what is written like a flag: not "-" alone (standard input) and not a negative number. */
export const looksLikeFlag = (argument: string): boolean => /^-(?!$|\d|\.\d)/.test(argument);
