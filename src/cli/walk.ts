// Reads argv, once: finds the command, refuses what is unknown, and hands over typed arguments.
import { AgentError, exit } from "../lib/agent-error.ts";
import { nearest } from "../lib/nearest.ts";
import { type Command, type ReadArguments, load } from "./command.ts";
import { type Flag, dashed, findFlag, flagsOf, looksLikeFlag, positionalsOf, written } from "./flags.ts";

export interface Destination {
  readonly command: Command;
  /** The command's names, without the program's: ["config", "set"]. */
  readonly path: readonly string[];
  /** The arguments after the command's name. */
  readonly rest: readonly string[];
}

/**
 * Follows command names from `root`. A word that is not a subcommand is an argument, if the command takes arguments.
 * Throws "cli.usage" for an unknown command.
 */
export async function findCommand(root: Command, argv: readonly string[]): Promise<Destination> {
  let command = root;
  let index = 0;
  for (; index < argv.length; index++) {
    const word = argv[index] ?? "";
    if (looksLikeFlag(word) || Object.keys(command.subCommands).length === 0) break;
    const entry = Object.hasOwn(command.subCommands, word) ? command.subCommands[word] : undefined;
    if (entry === undefined) {
      if (command !== root && takesArguments(command)) break;
      throw unknownCommand(command, argv.slice(0, index), word);
    }
    command = await load(entry);
  }
  return { command, path: argv.slice(0, index), rest: argv.slice(index) };
}

const takesArguments = ({ run, args, rest }: Command): boolean =>
  run !== undefined && (rest !== undefined || positionalsOf(args).length > 0);

function unknownCommand(command: Command, path: readonly string[], word: string): AgentError {
  const close = nearest(word, Object.keys(command.subCommands));
  return usageError(
    `unknown command ${[...path, word].join(" ")}${close === undefined ? "" : ` (did you mean ${[...path, close].join(" ")}?)`}`,
    path,
  );
}

export type Walked = { readonly help: true } | { readonly help: false; readonly input: ReadArguments };

/**
 * Reads the arguments of one command. A flag given twice has its last value; `--help` ends the reading.
 * Throws "cli.usage" for everything the command does not declare, and for what it requires and did not get.
 */
export function walk({ command, path, rest }: Destination): Walked {
  const flags = flagsOf(command.args);
  const given = new Map<string, string | boolean>();
  const words: string[] = [];
  for (let index = 0; index < rest.length; index++) {
    const argument = rest[index] ?? "";
    if (argument === "--") {
      words.push(...rest.slice(index + 1));
      break;
    }
    if (!looksLikeFlag(argument)) {
      words.push(argument);
      continue;
    }
    const { flag, negated, value } = readFlag(flags, argument, path);
    if (flag.name === "help") return { help: true };
    if (!flag.takesValue) {
      given.set(flag.name, truth(value, argument, path) !== negated);
      continue;
    }
    const text = value ?? valueAfter(flags, rest[index + 1]);
    if (text === undefined) throw usageError(`flag ${written(flag.name)} needs a value`, path);
    if (value === undefined) index++;
    given.set(flag.name, oneOf(flag, text, path));
  }
  checkRequired(flags, given, path);
  checkWords(command, words, path);
  return { help: false, input: typedInput(command, given, words) };
}

/** Defaults, then flags, then the named positional arguments; the words after those are the rest. */
function typedInput(
  { args }: Command,
  given: ReadonlyMap<string, string | boolean>,
  words: readonly string[],
): ReadArguments {
  const positionals = positionalsOf(args);
  const named = positionals.flatMap(({ name }, index) => {
    const word = words[index];
    return word === undefined ? [] : [[name, word] as const];
  });
  const defaults = Object.entries(args).flatMap(([name, { default: value }]) =>
    value === undefined ? [] : [[name, value] as const],
  );
  return {
    args: Object.fromEntries<string | boolean>([...defaults, ...given, ...named]),
    rest: words.slice(positionals.length),
  };
}

interface ReadFlag {
  readonly flag: Flag;
  readonly negated: boolean;
  readonly value: string | undefined;
}

function readFlag(flags: readonly Flag[], argument: string, path: readonly string[]): ReadFlag {
  const [, spelling = "", value] = /^--?([^=]*)(?:=([^]*))?$/.exec(argument) ?? [];
  const flag = findFlag(flags, spelling);
  if (flag) return { flag, negated: false, value };
  const positive = /^no[-_]/.test(spelling) ? findFlag(flags, spelling.slice(3)) : undefined;
  if (positive && !positive.takesValue && positive.name !== "help")
    return { flag: positive, negated: true, value };
  const close = nearest(
    dashed(spelling),
    flags.flatMap(({ spellings }) => spellings.filter(({ length }) => length > 1)),
  );
  const suggestion = close === undefined ? "" : ` (did you mean ${written(close)}?)`;
  throw usageError(`unknown flag ${argument.split("=")[0] ?? argument}${suggestion}`, path);
}

/** Returns the next argument as the value; `undefined` when that is a flag of the command: the value was forgotten. */
function valueAfter(flags: readonly Flag[], next: string | undefined): string | undefined {
  if (next === undefined || next === "--") return undefined;
  const spelling = looksLikeFlag(next) ? next.replace(/^--?/, "").replace(/=[^]*$/, "") : undefined;
  return spelling !== undefined && findFlag(flags, spelling) ? undefined : next;
}

// The spellings that Go's flag package accepts.
const TRUTH = new Map([
  ...["true", "t", "1"].map((word) => [word, true] as const),
  ...["false", "f", "0"].map((word) => [word, false] as const),
]);

function truth(value: string | undefined, argument: string, path: readonly string[]): boolean {
  if (value === undefined) return true;
  const known = TRUTH.get(value.toLowerCase());
  if (known === undefined) throw usageError(`${argument}: must be true or false`, path);
  return known;
}

function oneOf({ name, definition }: Flag, text: string, path: readonly string[]): string {
  const choices = definition.type === "enum" ? (definition.options ?? []) : [];
  if (choices.length === 0 || choices.includes(text)) return text;
  throw usageError(`${written(name)}: "${text}" must be one of ${choices.join(", ")}`, path);
}

function checkRequired(
  flags: readonly Flag[],
  given: ReadonlyMap<string, string | boolean>,
  path: readonly string[],
): void {
  const missing = flags.find(
    ({ name, definition }) => definition.required && definition.default === undefined && !given.has(name),
  );
  if (missing) throw usageError(`flag ${written(missing.name)} is required`, path);
}

function checkWords({ args, rest }: Command, words: readonly string[], path: readonly string[]): void {
  const positionals = positionalsOf(args);
  const missing = positionals.slice(words.length).find(({ required }) => required);
  if (missing) throw usageError(`missing <${missing.name}>`, path);
  if (rest?.required && words.length <= positionals.length) throw usageError(`missing <${rest.name}>`, path);
  const extra = words[positionals.length];
  if (rest === undefined && extra !== undefined) throw usageError(`unexpected argument "${extra}"`, path);
}

/** Makes the error for wrong usage (exit 2), with a hint to the help of the command `path`. */
export const usageError = (message: string, path: readonly string[]): AgentError =>
  new AgentError("cli.usage", message, {
    exit: exit.usage,
    hint: `See:  noderax-agent help ${path.join(" ")}`.trimEnd(),
  });
