// `completion`: prints the script by which a shell completes the command line.
import { renderBashCompletion } from "../completion/bash.ts";
import { renderFishCompletion } from "../completion/fish.ts";
import { renderZshCompletion } from "../completion/zsh.ts";
import { command } from "../command.ts";
import { root } from "../commands.ts";
import { outlineOf, settingFlags } from "../outline.ts";
import { print } from "../ui/output.ts";
import { usageError } from "../walk.ts";

const renderers = { bash: renderBashCompletion, zsh: renderZshCompletion, fish: renderFishCompletion };
type Shell = keyof typeof renderers;

/** Returns the completion script of a shell. */
export const completionFor = async (shell: Shell): Promise<string> =>
  renderers[shell](await outlineOf(root), settingFlags());

const isShell = (name: string): name is Shell => Object.hasOwn(renderers, name);

export default command({
  name: "completion",
  description: "print the completion script of a shell; install puts it in place",
  examples: ["completion bash", "completion fish > ~/.config/fish/completions/noderax-agent.fish"],
  args: {
    shell: {
      type: "positional",
      required: true,
      description: "bash, zsh or fish",
      valueHint: "bash|zsh|fish",
    },
  },
  async run({ args: { shell } }) {
    if (!isShell(shell))
      throw usageError(`${shell}: there are completions for ${Object.keys(renderers).join(", ")}`, [
        "completion",
      ]);
    print((await completionFor(shell)).trimEnd());
  },
});
