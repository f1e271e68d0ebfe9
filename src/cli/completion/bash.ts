// Renders the completion for bash. It works with and without the package bash-completion. Pure.
import { quote } from "../../lib/text.ts";
import type { CommandOutline, CompletedValue, FlagOutline } from "../outline.ts";

/** Returns the script; it is sourced, and defines functions that begin with _noderax_agent. */
export function renderBashCompletion(
  commands: readonly CommandOutline[],
  settings: readonly FlagOutline[],
): string {
  const below = commands
    .filter((command) => command.below.length > 0)
    .map((command) => when(at(command), `echo ${quote(names(command.below))}`));
  const flags = commands.map(({ flags: own, takesSettings, ...command }) =>
    when(at(command), `echo ${quote(spellings(own))}${takesSettings ? ' "$settings"' : ""}`),
  );
  const values = commands.flatMap((command) =>
    command.flags.flatMap((flag) => valueCases(`${at(command)} `, flag)),
  );
  const ofSettings = settings.flatMap((flag) => valueCases("", flag));
  const positions = commands.flatMap((command) =>
    command.arguments.flatMap(({ value }, index) =>
      value === "text" ? [] : [when(`${at(command)} ${index}`, `echo ${quote(kind(value))}`)],
    ),
  );
  return `# Completion of noderax-agent for bash, written by \`noderax-agent completion bash\`.
_noderax_agent_below() {
  case $1 in
${below.join("\n")}
  esac
}
_noderax_agent_flags() {
  local settings=${quote(spellings(settings))}
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
  case "$1 $2" in
${positions.join("\n")}
  esac
}
_noderax_agent() {
  local current=\${COMP_WORDS[COMP_CWORD]} at='' flag='' count=0 i word kind
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    case $word in
      # bash cuts words at both.
      =) ;;
      :) i=$((i + 1)) ;;
      -*)
        flag=''
        ! _noderax_agent_value "$at" "$word" >/dev/null || flag=$word
        ;;
      *)
        if [[ -n $flag ]]; then
          flag=''
        elif [[ " $(_noderax_agent_below "$at") " == *" $word "* ]]; then
          at=\${at:+$at }$word
        else
          count=$((count + 1))
        fi
        ;;
    esac
  done
  [[ $current != = ]] || current=''
  if [[ -n $flag ]]; then
    kind=$(_noderax_agent_value "$at" "$flag")
  elif [[ $current == -* ]]; then
    kind="words $(_noderax_agent_flags "$at")"
  else
    kind="words $(_noderax_agent_below "$at")"
    [[ $kind != 'words ' ]] || kind=$(_noderax_agent_argument "$at" "$count")
  fi
  case $kind in
    words*) mapfile -t COMPREPLY < <(compgen -W "\${kind#words}" -- "$current") ;;
    file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    directory) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
  esac
}
complete -F _noderax_agent noderax-agent
`;
}

const at = ({ path }: Pick<CommandOutline, "path">): string => path.join(" ");
const names = (list: readonly { readonly name: string }[]): string => list.map(({ name }) => name).join(" ");
const spellings = (flags: readonly FlagOutline[]): string =>
  flags.map(({ spellings: [first = ""] }) => first).join(" ");

const kind = (value: CompletedValue): string =>
  typeof value === "string" ? value : `words ${value.join(" ")}`;

const when = (pattern: string, command: string): string => `    ${quote(pattern)}) ${command} ;;`;

const valueCases = (prefix: string, { spellings: all, value }: FlagOutline): string[] =>
  value === undefined
    ? []
    : [`    ${all.map((one) => quote(prefix + one)).join(" | ")}) echo ${quote(kind(value))} ;;`];
