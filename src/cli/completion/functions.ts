// Renders the shell functions that the completions for bash and zsh share: each answers a question by `case`. Pure.
import { quote } from "../../lib/text.ts";
import type { CommandOutline, CompletedValue, FlagOutline } from "../outline.ts";

/** What differs between the shells. */
export interface AnswerStyle {
  /** Lines before each `case`, which empty the answer; may be none. */
  readonly reset: string;
  /** Declares the variable `settings` with the flags of all settings. */
  readonly declareSettings: (flags: readonly FlagOutline[]) => string;
  /** Commands that answer with these names, flags, or with what may follow. */
  readonly names: (below: CommandOutline["below"]) => string;
  readonly flags: (own: readonly FlagOutline[], takesSettings: boolean) => string;
  readonly value: (value: CompletedValue) => string;
}

/** Returns the functions _below, _flags, _value and _argument, all beginning with _noderax_agent. */
export function renderFunctions(
  commands: readonly CommandOutline[],
  settings: readonly FlagOutline[],
  style: AnswerStyle,
): string {
  const valueCases = (prefix: string, { spellings, value }: FlagOutline): string[] =>
    value === undefined
      ? []
      : [`    ${spellings.map((one) => quote(prefix + one)).join(" | ")}) ${style.value(value)} ;;`];
  const below = commands
    .filter((command) => command.below.length > 0)
    .map((command) => when(at(command), style.names(command.below)));
  const flags = commands.map((command) =>
    when(at(command), style.flags(command.flags, command.takesSettings)),
  );
  const values = commands.flatMap((command) =>
    command.flags.flatMap((flag) => valueCases(`${at(command)} `, flag)),
  );
  const ofSettings = settings.flatMap((flag) => valueCases("", flag));
  const positions = commands.flatMap((command) =>
    command.arguments.flatMap(({ value }, index) =>
      value === "text" ? [] : [when(`${at(command)} ${index}`, style.value(value))],
    ),
  );
  return `_noderax_agent_below() {
${style.reset}  case $1 in
${below.join("\n")}
  esac
}
_noderax_agent_flags() {
  ${style.declareSettings(settings)}
  case $1 in
${flags.join("\n")}
  esac
}
# What follows a flag of a command: words, a file, a directory or text. Fails for a flag without a value.
_noderax_agent_value() {
  case "$1 $2" in
${values.join("\n")}
    *)
      case $2 in
${ofSettings.join("\n")}
        *) return 1 ;;
      esac
      ;;
  esac
}
# What the argument of a command is, counted from 0.
_noderax_agent_argument() {
${style.reset}  case "$1 $2" in
${positions.join("\n")}
  esac
}`;
}

const at = ({ path }: CommandOutline): string => path.join(" ");
const when = (pattern: string, command: string): string => `    ${quote(pattern)}) ${command} ;;`;
