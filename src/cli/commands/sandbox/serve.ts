// Starts the sandbox for `sandbox` and `dev`: chooses its port, and announces it to operator commands.
import { PORT_MAX } from "../../../lib/address.ts";
import { AgentError, hasCode, messageOf } from "../../../lib/agent-error.ts";
import { announceSandbox } from "../../../sandbox/announce.ts";
import { type Sandbox, type SandboxOptions, startSandbox } from "../../../sandbox/sandbox.ts";
import { note, warn } from "../../ui/output.ts";
import { typed } from "../../program.ts";
import { usageError } from "../../walk.ts";

const DEFAULT_PORT = 8080;

/** Listens on `port`; without one on 8080, or on a free port if that is taken. Throws "sandbox.listen" and "cli.usage". */
export async function serveSandbox(
  command: "sandbox" | "dev",
  port: string | undefined,
  options: Omit<SandboxOptions, "port"> = {},
): Promise<Sandbox> {
  if (port !== undefined) {
    return startSandbox({ ...options, port: portOf(port, command) }).catch((error: unknown) => {
      if (!hasCode(error, "sandbox.listen")) throw error;
      const hint = `Take any free port:  ${typed(command)} --port 0`;
      throw new AgentError(error.code, error.message, { hint, cause: error });
    });
  }
  try {
    return await startSandbox({ ...options, port: DEFAULT_PORT });
  } catch (error) {
    if (!hasCode(error, "sandbox.listen")) throw error;
    note(`${error.message}: taking another port`);
    return startSandbox({ ...options, port: 0 });
  }
}

function portOf(text: string, command: string): number {
  if (/^\d+$/.test(text) && Number(text) <= PORT_MAX) return Number(text);
  throw usageError(`--port: "${text}" is not a port (0 to 65535)`, [command]);
}

/** Lets operator commands find the sandbox until disposed. Warns when that fails: it can still be used with --url. */
export function announceOrWarn(sandbox: Sandbox): Disposable {
  try {
    return announceSandbox(sandbox);
  } catch (error) {
    warn(messageOf(error));
    return { [Symbol.dispose]() {} };
  }
}
