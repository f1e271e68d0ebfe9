// Renders the completion for zsh, with descriptions. Pure.
import { quote } from "../../lib/text.ts";
import type { CommandOutline, CompletedValue, FlagOutline } from "../outline.ts";

/** Returns the file `_noderax-agent` of a directory of fpath. */
export function renderZshCompletion(
  commands: readonly CommandOutline[],
  settings: readonly FlagOutline[],
): string {
  const below = commands
    .filter((command) => command.below.length > 0)
    .map((command) => when(at(command), `reply=(${command.below.map(described).join(" ")})`));
  const flags = commands.map(({ flags: own, takesSettings, ...command }) => {
    const all = own.map(describedFlag).join(" ");
    return when(at(command), `reply=(${all}${takesSettings ? " $settings" : ""})`);
  });
  const values = commands.flatMap((command) =>
    command.flags.flatMap((flag) => valueCases(`${at(command)} `, flag)),
  );
  const positions = commands.flatMap((command) =>
    command.arguments.flatMap(({ value }, index) =>
      value === "text" ? [] : [when(`${at(command)} ${index}`, `reply=(${kind(value)})`)],
    ),
  );
  return `#compdef noderax-agent
# Completion of noderax-agent for zsh, written by \`noderax-agent completion zsh\`.
_noderax_agent_below() {
  reply=()
  case $1 in
${below.join("\n")}
  esac
}
_noderax_agent_flags() {
  local -a settings=(${settings.map(describedFlag).join(" ")})
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
${settings.flatMap((flag) => valueCases("", flag)).join("\n")}
        *) return 1 ;;
      esac
      ;;
  esac
}
_noderax_agent_argument() {
  reply=()
  case "$1 $2" in
${positions.join("\n")}
  esac
}
_noderax_agent() {
  local at='' flag='' word
  local -i count=0 i
  local -a reply
  for ((i = 2; i < CURRENT; i++)); do
    word=$words[i]
    if [[ $word == -* ]]; then
      flag=''
      [[ $word == *=* ]] || ! _noderax_agent_value "$at" "$word" || flag=$word
    elif [[ -n $flag ]]; then
      flag=''
    else
      _noderax_agent_below "$at"
      if (( \${reply[(I)$word:*]} )); then at=\${at:+$at }$word; else count+=1; fi
    fi
  done
  if [[ -z $flag && $PREFIX == -*=* ]]; then
    flag=\${PREFIX%%=*}
    compset -P '*='
  fi
  if [[ -n $flag ]]; then
    _noderax_agent_value "$at" "$flag" || return
  elif [[ $PREFIX == -* ]]; then
    _noderax_agent_flags "$at"
    _describe -o flag reply
    return
  else
    _noderax_agent_below "$at"
    if (( $#reply )); then
      _describe command reply
      return
    fi
    _noderax_agent_argument "$at" "$count"
  fi
  case $reply[1] in
    words) compadd -- $reply[2,-1] ;;
    file) _files ;;
    directory) _files -/ ;;
  esac
}
if [[ $funcstack[1] == _noderax-agent ]]; then _noderax_agent "$@"; else compdef _noderax_agent noderax-agent; fi
`;
}

const at = ({ path }: Pick<CommandOutline, "path">): string => path.join(" ");

/** A colon ends the word before its description. */
const described = ({ name, description }: { readonly name: string; readonly description: string }): string =>
  quote(`${name.replaceAll(":", "\\:")}:${description}`);

const describedFlag = ({ spellings: [name = ""], description }: FlagOutline): string =>
  described({ name, description });

const kind = (value: CompletedValue): string =>
  typeof value === "string" ? value : `words ${value.map(quote).join(" ")}`;

const when = (pattern: string, command: string): string => `    ${quote(pattern)}) ${command} ;;`;

const valueCases = (prefix: string, { spellings: all, value }: FlagOutline): string[] =>
  value === undefined
    ? []
    : [`    ${all.map((one) => quote(prefix + one)).join(" | ")}) reply=(${kind(value)}) ;;`];
