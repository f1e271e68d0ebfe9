// Renders the completion for bash. It works with and without the package bash-completion. Pure.
import { quote } from "../../lib/text.ts";
import type { CommandOutline, FlagOutline } from "../outline.ts";
import { type AnswerStyle, renderFunctions } from "./functions.ts";

/** Returns the script; it is sourced, and defines functions that begin with _noderax_agent. */
export function renderBashCompletion(
  commands: readonly CommandOutline[],
  settings: readonly FlagOutline[],
): string {
  return `# Completion of noderax-agent for bash, written by \`noderax-agent completion bash\`.
${renderFunctions(commands, settings, STYLE)}
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

const spellings = (flags: readonly FlagOutline[]): string =>
  flags.map(({ spellings: [first = ""] }) => first).join(" ");

const STYLE: AnswerStyle = {
  reset: "",
  declareSettings: (flags) => `local settings=${quote(spellings(flags))}`,
  names: (below) => `echo ${quote(below.map(({ name }) => name).join(" "))}`,
  flags: (own, takesSettings) => `echo ${quote(spellings(own))}${takesSettings ? ' "$settings"' : ""}`,
  value: (value) => `echo ${quote(typeof value === "string" ? value : `words ${value.join(" ")}`)}`,
};
