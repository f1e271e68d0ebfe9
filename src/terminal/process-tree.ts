// The processes of one terminal, wherever they went.
import { type Census, familyOf, withDescendants } from "../platform/process-table.ts";
import type { ProcessId } from "../platform/processes.ts";
import { cookieOf } from "./shell.ts";

/**
 * Who is alive of the session: all in it, all with its cookie, and their children — `sudo` drops the cookie and may give
 * its command another session. Whoever was seen once stays known, since the dying leave orphans.
 */
export function terminalFamily(
  sessionId: string,
  leader: ProcessId | undefined,
  look: () => Promise<Census>,
): () => Promise<number[]> {
  const family = { leader, cookie: cookieOf(sessionId), unit: undefined };
  /** Start times by pid. */
  const seen = new Map<number, string>();
  return async () => {
    const census = await look();
    for (const pid of withDescendants(familyOf(family, census), census)) {
      const one = census.get(pid);
      if (one !== undefined && pid !== process.pid) seen.set(pid, one.startTime);
    }
    return [...seen]
      .filter(([pid, startTime]) => census.get(pid)?.startTime === startTime)
      .map(([pid]) => pid);
  };
}
