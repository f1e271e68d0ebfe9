// Renders `--help`: usage, commands, arguments, flags and examples.
import { type Command, load } from "../command.ts";
import { type Flag, flagsOf, positionalsOf, written } from "../flags.ts";
import { type Paint, table } from "./output.ts";
import { calledAs } from "../program.ts";

const PROGRAM = calledAs();

/** Renders the help of one command. `path` is its names: ["config", "set"]. */
export async function renderHelp(command: Command, path: readonly string[], paint: Paint): Promise<string> {
  const flags = flagsOf(command.args);
  const own = flags.filter(({ definition }) => !("setting" in definition));
  const sections = [
    `${sentence(command.description)}\n`,
    `${paint.bold("Usage:")} ${usage(command, path)}\n`,
    section("Commands", await commandRows(command), paint),
    section("Arguments", argumentRows(command), paint),
    section("Flags", own.map(flagRow), paint),
    own.length < flags.length
      ? `Every setting is also a flag, as in --log-level debug. To list them:  ${PROGRAM} help settings\n`
      : "",
    section(
      "Examples",
      command.examples.map((example) => [`${PROGRAM} ${example}`.trimEnd()]),
      paint,
    ),
  ];
  return sections.filter(Boolean).join("\n").trimEnd();
}

/** Renders the flags of all settings. */
export function renderSettings(args: Command["args"], paint: Paint): string {
  const rows = flagsOf(args)
    .filter(({ definition }) => "setting" in definition)
    .map(flagRow);
  return `Settings, as flags of the commands that read the configuration.\n\n${section("Flags", rows, paint)}`.trimEnd();
}

function usage({ args, rest, subCommands, run }: Command, path: readonly string[]): string {
  const words = positionalsOf(args).map(({ name, required }) => (required ? `<${name}>` : `[${name}]`));
  if (rest) words.push(rest.required ? `<${rest.name}>…` : `[${rest.name}]…`);
  if (Object.keys(subCommands).length > 0) words.push(run ? "[command]" : "<command>");
  return [PROGRAM, ...path, ...words, "[flags]"].join(" ");
}

async function commandRows({ subCommands }: Command): Promise<string[][]> {
  const loaded = await Promise.all(
    Object.entries(subCommands).map(async ([name, entry]) => ({ name, command: await load(entry) })),
  );
  return loaded
    .filter(({ command }) => !command.hidden)
    .map(({ name, command }) => [name, command.description]);
}

function argumentRows({ args, rest }: Command): string[][] {
  const rows = positionalsOf(args).map(({ name, definition }) => [`<${name}>`, definition.description ?? ""]);
  return rest ? [...rows, [`<${rest.name}>…`, rest.description]] : rows;
}

function flagRow({ spellings, takesValue, definition }: Flag): string[] {
  const value = takesValue ? ` ${definition.valueHint ?? "VALUE"}` : "";
  const fallback =
    definition.default === undefined || definition.default === false
      ? ""
      : ` (default ${definition.default})`;
  return [spellings.map(written).join(", ") + value, `${definition.description ?? ""}${fallback}`];
}

function section(title: string, rows: readonly (readonly string[])[], paint: Paint): string {
  if (rows.length === 0) return "";
  return `${paint.bold(`${title}:`)}\n${table(rows)
    .map((line) => `  ${line}\n`)
    .join("")}`;
}

const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
