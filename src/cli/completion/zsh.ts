// Renders the completion for zsh, with descriptions. Pure.
import { quote } from "../../lib/text.ts";
import type { CommandOutline, FlagOutline } from "../outline.ts";
import { type AnswerStyle, renderFunctions } from "./functions.ts";

/** Returns the file `_noderax-agent` of a directory of fpath. */
export function renderZshCompletion(
  commands: readonly CommandOutline[],
  settings: readonly FlagOutline[],
): string {
  return `#compdef noderax-agent
# Completion of noderax-agent for zsh, written by \`noderax-agent completion zsh\`.
${renderFunctions(commands, settings, STYLE)}
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

/** A colon ends the word before its description. */
const described = ({ name, description }: { readonly name: string; readonly description: string }): string =>
  quote(`${name.replaceAll(":", "\\:")}:${description}`);

const describedFlag = ({ spellings: [name = ""], description }: FlagOutline): string =>
  described({ name, description });

const STYLE: AnswerStyle = {
  reset: "  reply=()\n",
  declareSettings: (flags) => `local -a settings=(${flags.map(describedFlag).join(" ")})`,
  names: (below) => `reply=(${below.map(described).join(" ")})`,
  flags: (own, takesSettings) =>
    `reply=(${own.map(describedFlag).join(" ")}${takesSettings ? " $settings" : ""})`,
  value: (value) => `reply=(${typeof value === "string" ? value : `words ${value.map(quote).join(" ")}`})`,
};
