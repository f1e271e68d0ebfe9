// One command: its name, what it takes, what it does, and examples. Citty parses; the walk in walk.ts checks first.
import type { ArgDef, ArgsDef, ParsedArgs } from "citty";
import type { ExitCode } from "../lib/agent-error.ts";

/** The arguments after the named positional ones, for commands that take any number of them. */
export interface Rest {
  readonly name: string;
  readonly description: string;
  readonly required?: boolean;
}

export interface CommandInput<T extends ArgsDef> {
  readonly args: ParsedArgs<T>;
  /** Positional arguments beyond the named ones; empty unless the command declares `rest`. */
  readonly rest: readonly string[];
}

export interface CommandSpec<T extends ArgsDef> {
  readonly name: string;
  /** One line, lower case, no full stop: it stands in the list of commands. */
  readonly description: string;
  /** Whole command lines without the program's name: "config set log_level debug". */
  readonly examples?: readonly string[];
  /** Flags and positional arguments, flags named with dashes. A flag's name must not begin with "no-". */
  readonly args?: T;
  readonly rest?: Rest;
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
  readonly rest: Rest | undefined;
  readonly subCommands: Readonly<Record<string, SubCommand>>;
  readonly hidden: boolean;
  /** Absent on a mere group of commands. Takes arguments in the canonical form the walk writes. */
  readonly run: ((canonical: readonly string[]) => Promise<ExitCode | void>) | undefined;
}

/** Declares a command. `run` sees its arguments typed from `args`. */
export function command<const T extends ArgsDef>(spec: CommandSpec<T>): Command {
  const { run } = spec;
  const named = Object.values(spec.args ?? {}).filter(({ type }) => type === "positional").length;
  return {
    name: spec.name,
    description: spec.description,
    examples: spec.examples ?? [],
    args: spec.args ?? {},
    rest: spec.rest,
    subCommands: spec.subCommands ?? {},
    hidden: spec.hidden ?? false,
    run: run && ((canonical) => runWithCitty(spec.args, run, named, canonical)),
  };
}

async function runWithCitty<T extends ArgsDef>(
  args: T | undefined,
  run: NonNullable<CommandSpec<T>["run"]>,
  named: number,
  canonical: readonly string[],
): Promise<ExitCode | void> {
  const { runCommand } = await import("citty");
  let code: ExitCode | void = undefined;
  await runCommand<T>(
    {
      ...(args && { args }),
      async run({ args }) {
        code = await run({ args, rest: args._.slice(named) });
      },
    },
    { rawArgs: [...canonical] },
  );
  return code;
}

/** The command behind a possibly lazy entry. */
export async function load(entry: SubCommand): Promise<Command> {
  return typeof entry === "function" ? (await entry()).default : entry;
}
