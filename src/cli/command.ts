// Declares one command: its name, its arguments, what it does, and examples. The walk in walk.ts reads argv.
import type { ArgDef, ArgsDef } from "citty";
import type { ExitCode } from "../lib/agent-error.ts";

/** The arguments after the named positional ones, for commands that take any number of them. */
export interface RestArgument {
  readonly name: string;
  readonly description: string;
  readonly required?: boolean;
}

/** One value as the walk read it: text, or true and false for a boolean flag. */
type ArgumentType<A extends ArgDef> = A extends { type: "boolean" }
  ? boolean
  : A extends { type: "enum"; options: readonly (infer Choice)[] }
    ? Choice
    : string;

/** `undefined` where neither the person nor a default gave a value. */
type ArgumentOf<A extends ArgDef> = A extends { required: true } | { default: string | boolean }
  ? ArgumentType<A>
  : ArgumentType<A> | undefined;

/** The arguments of a command, by the names it declares: no aliases, nothing undeclared. */
export type CommandArgs<T extends ArgsDef> = { readonly [K in keyof T]: ArgumentOf<T[K]> };

/** The arguments as the walk hands them over, before `command` gives them the types of its declaration. */
export interface ReadArguments {
  readonly args: Readonly<Record<string, string | boolean>>;
  /** Positional arguments beyond the named ones; empty unless the command declares `rest`. */
  readonly rest: readonly string[];
}

export interface CommandInput<T extends ArgsDef> {
  readonly args: CommandArgs<T>;
  readonly rest: readonly string[];
}

export interface CommandSpec<T extends ArgsDef> {
  readonly name: string;
  /** One line, lower case, no full stop: it stands in the list of commands. */
  readonly description: string;
  /** Whole command lines without the program's name: "config set log_level debug". */
  readonly examples?: readonly string[];
  /** Flags and positional arguments, flags named with dashes. */
  readonly args?: T;
  readonly rest?: RestArgument;
  readonly subCommands?: Readonly<Record<string, SubCommand>>;
  /** Left out of the list of commands. */
  readonly hidden?: boolean;
  /** The exit code when it is not 0; failures are thrown as AgentError. */
  readonly run?: (input: CommandInput<T>) => Promise<ExitCode | void> | ExitCode | void;
}

/** A command, or the import of a file that exports one as `default`: `() => import("./commands/run.ts")`. */
export type SubCommand = Command | (() => Promise<{ readonly default: Command }>);

export interface Command {
  readonly name: string;
  readonly description: string;
  readonly examples: readonly string[];
  readonly args: Readonly<Record<string, ArgDef>>;
  readonly rest: RestArgument | undefined;
  readonly subCommands: Readonly<Record<string, SubCommand>>;
  readonly hidden: boolean;
  /** `undefined` for a group of commands that does nothing by itself. */
  readonly run: ((input: ReadArguments) => Promise<ExitCode | void>) | undefined;
}

/** Declares a command. `run` sees its arguments typed from `args`. */
export function command<const T extends ArgsDef>(spec: CommandSpec<T>): Command {
  const { run } = spec;
  return {
    name: spec.name,
    description: spec.description,
    examples: spec.examples ?? [],
    args: spec.args ?? {},
    rest: spec.rest,
    subCommands: spec.subCommands ?? {},
    hidden: spec.hidden ?? false,
    // The walk reads by the same `args`: it gives each the declared type, and none that is not declared.
    run: run && (async ({ args, rest }) => run({ args: args as CommandArgs<T>, rest })),
  };
}

/** Loads a command that may be given as an import. */
export async function load(entry: SubCommand): Promise<Command> {
  return typeof entry === "function" ? (await entry()).default : entry;
}
