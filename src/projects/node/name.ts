// Determines the name under which the node registers: the configured one, or the hostname. Pure.
import { AgentError, exit } from "../../lib/agent-error.ts";
import { NAME } from "../../protocol/caravanserai/resources.ts";

const LENGTH_MAX = 253;

/**
 * The configured name unchanged (`chosen`), or the hostname adapted: lower case, dashes for underscores, cut. Throws
 * `config.node_name` when the server would refuse it: a configured name is never changed silently.
 */
export function nodeName(name: string, chosen: boolean): string {
  const fit = chosen ? name : fitting(name);
  if (NAME.test(fit)) return fit;
  throw new AgentError(
    "config.node_name",
    chosen
      ? `node_name: "${name}" is not a name for a node (lower-case letters, digits, "-" and ".", at most ${LENGTH_MAX})`
      : `node_name is not set, and no name can be made from the hostname ("${name}")`,
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
