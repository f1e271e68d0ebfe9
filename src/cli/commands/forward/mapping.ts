// "[LOCAL:]REMOTE": which port here leads to which port of the service.
import { AgentError, exit } from "../../../lib/agent-error.ts";
import { portOf } from "../../../protocol/caravanserai/tunnel.ts";

export interface Mapping {
  /** 0 takes a free one. */
  readonly local: number;
  readonly remote: number;
}

/** Throws AgentError, exit 2. */
export function mappingIn(text: string): Mapping {
  const [first = "", second, ...more] = text.split(":");
  const remote = portOf(second ?? first);
  const local = second === undefined ? remote : first === "0" ? 0 : portOf(first);
  if (remote !== undefined && local !== undefined && more.length === 0) return { local, remote };
  throw new AgentError("cli.usage", `"${text}" is not [LOCAL:]REMOTE`, {
    exit: exit.usage,
    hint: "Ports are 1 to 65535, a LOCAL of 0 takes a free one:  5432   15432:5432   0:80",
  });
}
