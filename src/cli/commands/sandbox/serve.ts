// What `sandbox` and `dev` share: the port they listen on, and the note by which operator commands find them.
import { PORT_MAX } from "../../../lib/address.ts";
import { AgentError, exit, messageOf } from "../../../lib/agent-error.ts";
import { announceSandbox } from "../../../sandbox/announce.ts";
import { type Sandbox, type SandboxOptions, startSandbox } from "../../../sandbox/sandbox.ts";
import { note, warn } from "../../ui/output.ts";
import { typed } from "../../program.ts";

const DEFAULT_PORT = 8080;

/** Listens on the port of `--port`; without one on the usual port, or any when that is taken. Throws AgentError. */
export async function serveSandbox(
  command: "sandbox" | "dev",
  port: string | undefined,
  options: Omit<SandboxOptions, "port"> = {},
): Promise<Sandbox> {
  if (port !== undefined) {
    return startSandbox({ ...options, port: portOf(port, command) }).catch((error: unknown) => {
      if (!(error instanceof AgentError) || error.code !== "sandbox.listen") throw error;
      const hint = `Take any free port:  ${typed(command)} --port 0`;
      throw new AgentError(error.code, error.message, { hint, cause: error });
    });
  }
  try {
    return await startSandbox({ ...options, port: DEFAULT_PORT });
  } catch (error) {
    if (!(error instanceof AgentError) || error.code !== "sandbox.listen") throw error;
    note(`${error.message}: taking another port`);
    return startSandbox({ ...options, port: 0 });
  }
}

function portOf(text: string, command: string): number {
  if (/^\d+$/.test(text) && Number(text) <= PORT_MAX) return Number(text);
  throw new AgentError("cli.usage", `--port: "${text}" is not a port (0 to 65535)`, {
    exit: exit.usage,
    hint: `see: noderax-agent help ${command}`,
  });
}

/** Until disposed of, operator commands find the sandbox by themselves; where they cannot, it runs all the same. */
export function announced(sandbox: Sandbox): Disposable {
  try {
    return announceSandbox(sandbox);
  } catch (error) {
    warn(messageOf(error));
    return { [Symbol.dispose]() {} };
  }
}
