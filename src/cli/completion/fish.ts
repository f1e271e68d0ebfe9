// Renders the completion for fish, with descriptions. Pure.
import type { CommandOutline, CompletedValue, FlagOutline } from "../outline.ts";

/** Returns the script for a directory of completions. */
export function renderFishCompletion(
  commands: readonly CommandOutline[],
  settings: readonly FlagOutline[],
): string {
  const withValue = [...commands.flatMap(({ flags }) => flags), ...settings]
    .filter(({ value }) => value !== undefined)
    .flatMap(({ spellings }) => spellings);
  const groups = commands.filter(({ below }) => below.length > 0).map(at);
  const takers = commands.filter(({ takesSettings }) => takesSettings).map(at);
  return [
    "# Completion of noderax-agent for fish, written by `noderax-agent completion fish`.",
    `set -g __noderax_agent_valued ${[...new Set(withValue)].join(" ")}`,
    `set -g __noderax_agent_commands ${commands
      .slice(1)
      .map((command) => quoted(at(command)))
      .join(" ")}`,
    "# Succeeds when the line, as far as it is typed, is one of these commands with so many arguments (-1: any number).",
    "function __noderax_agent_at",
    "  set -l path ''",
    "  set -l count 0",
    "  set -l skip no",
    "  for word in (commandline -opc)[2..]",
    "    if test $skip = yes",
    "      set skip no",
    "    else if string match -q -- '-*' $word",
    "      contains -- $word $__noderax_agent_valued; and set skip yes",
    '    else if contains -- (string trim -- "$path $word") $__noderax_agent_commands',
    '      set path (string trim -- "$path $word")',
    "    else",
    "      set count (math $count + 1)",
    "    end",
    "  end",
    "  test $argv[1] = -1; or test $argv[1] = $count; or return 1",
    '  contains -- "$path" $argv[2..]',
    "end",
    "complete -c noderax-agent -f",
    ...commands.flatMap((command) => [
      ...command.below.map((one) => line([at(command)], "0", `-a ${quoted(one.name)}`, one.description)),
      ...command.flags.map((flag) => flagLine([at(command)], flag)),
      ...command.arguments.flatMap(({ value, description }, index) =>
        value === "text" || groups.includes(at(command))
          ? []
          : [line([at(command)], String(index), argument(value), description)],
      ),
    ]),
    ...settings.map((flag) => flagLine(takers, flag)),
    "",
  ].join("\n");
}

const at = ({ path }: CommandOutline): string => path.join(" ");

/** In single quotes fish knows two escapes. */
const quoted = (word: string): string => `'${word.replaceAll(/[\\']/g, "\\$&")}'`;

const line = (paths: readonly string[], count: string, what: string, description: string): string =>
  `complete -c noderax-agent -n ${quoted(`__noderax_agent_at ${count} ${paths.map(quoted).join(" ")}`)} ${what} -d ${quoted(description)}`;

function flagLine(paths: readonly string[], { spellings, value, description }: FlagOutline): string {
  const name = spellings
    .map((one) => (one.startsWith("--") ? `-l ${one.slice(2)}` : `-s ${one.slice(1)}`))
    .join(" ");
  return line(paths, "-1", value === undefined ? name : `${name} -r ${argument(value)}`, description);
}

function argument(value: CompletedValue): string {
  if (value === "text") return "-f";
  if (value === "file") return "-F";
  return value === "directory" ? "-f -a '(__fish_complete_directories)'" : `-f -a ${quoted(value.join(" "))}`;
}
