// The processes of one terminal, wherever they went.
import { type ProcessId, familyOf, identify, isAlive, withDescendants } from "../platform/processes.ts";
import { cookieOf } from "./shell.ts";

/**
 * Who is alive of the session: all in it, all with its cookie, and their children — `sudo` drops the cookie and may give
 * its command another session. Whoever was seen once stays known, since the dying leave orphans.
 */
export function terminalFamily(sessionId: string, leader: ProcessId | undefined): () => number[] {
  const family = { leader, cookie: cookieOf(sessionId), unit: undefined };
  const seen = new Map<number, ProcessId>();
  return () => {
    for (const pid of withDescendants(familyOf(family))) {
      const program = pid === process.pid ? undefined : identify(pid);
      if (program !== undefined) seen.set(pid, program);
    }
    return [...seen.values()].filter(isAlive).map(({ pid }) => pid);
  };
}
