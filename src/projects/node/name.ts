// The name a node registers under: from the host's name where the owner chose none. Pure.
import { AgentError, exit } from "../../lib/agent-error.ts";
import { NAME } from "../../protocol/caravanserai/resources.ts";

const LENGTH_MAX = 253;

/**
 * The configured name as it is, or the host's made fit: lower case, dashes for underscores, cut. Throws an AgentError
 * that names the setting when the server would refuse it: a name that was chosen is never changed in silence.
 */
export function nodeName(name: string, chosen: boolean): string {
  const fit = chosen ? name : fitting(name);
  if (NAME.test(fit)) return fit;
  throw new AgentError(
    "config.node_name",
    chosen
      ? `node_name: "${name}" is no name for a node (lower-case letters, digits, "-" and ".", at most ${LENGTH_MAX})`
      : `node_name is not set, and no name can be made of this machine's ("${name}")`,
    {
      hint: "Choose one:  noderax-agent config set node_name web-1",
      exit: exit.usage,
    },
  );
}

const fitting = (hostname: string): string =>
  hostname
    .toLowerCase()
    .replaceAll("_", "-")
    .replace(/^[^a-z0-9]+/, "")
    .slice(0, LENGTH_MAX)
    .replace(/[^a-z0-9]+$/, "");
