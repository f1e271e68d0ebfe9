// A socket in the state directory (0600): how `status` asks the running agent, and how a second agent notices the first.
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { AgentError, exit } from "../lib/agent-error.ts";
import { type Duration, seconds } from "../lib/duration.ts";
import * as v from "valibot";
import { Status } from "./status.ts";

const NAME = "agent.sock";

/**
 * A socket's path may have 107 bytes at most; through the directory's descriptor it is short however deep the
 * directory lies.
 */
function within<T>(directory: string, use: (path: string) => T): T {
  const handle = openSync(directory, "r");
  const close = (): void => closeSync(handle);
  try {
    const result = use(`/proc/self/fd/${handle}/${NAME}`);
    if (result instanceof Promise) {
      void result.then(close, close);
      return result;
    }
    close();
    return result;
  } catch (error) {
    close();
    throw error;
  }
}

/** Throws an AgentError when another agent answers on the socket already. */
export async function serveStatus(directory: string, status: () => Status): Promise<Disposable> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const other = await askStatus(directory, seconds(2));
  if (other !== undefined) {
    throw new AgentError(
      "agent.running",
      `an agent with this state directory runs already (pid ${other.pid})`,
      {
        hint: [
          "Look at it:  noderax-agent status",
          `Two agents with one identity (${directory}) would throw each other out.`,
        ],
      },
    );
  }
  const path = join(directory, NAME);
  rmSync(path, { force: true });
  const server = within(directory, (unix) => Bun.serve({ unix, fetch: () => Response.json(status()) }));
  chmodSync(path, 0o600);
  return {
    [Symbol.dispose]() {
      void server.stop(true);
      rmSync(path, { force: true });
    },
  };
}

/** The status of the agent that runs with this state directory; undefined when none does. */
export async function askStatus(
  directory: string,
  timeout: Duration = seconds(3),
): Promise<Status | undefined> {
  if (!existsSync(join(directory, NAME))) return undefined;
  try {
    const response = await within(directory, (unix) =>
      fetch("http://agent/status", { unix, signal: AbortSignal.timeout(timeout) }),
    );
    return v.parse(Status, await response.json());
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EACCES") {
      throw new AgentError("agent.forbidden", `the agent in ${directory} belongs to another user`, {
        hint: "Ask as that user, or with sudo.",
        exit: exit.refused,
      });
    }
    return undefined; // Nobody listens: what an agent that was killed has left behind.
  }
}
