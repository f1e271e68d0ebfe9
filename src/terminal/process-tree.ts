// The processes of one terminal session, wherever they moved.
import { type ProcessTable, processesOf, withDescendants } from "../platform/process-table.ts";
import type { ProcessId } from "../platform/processes.ts";
import { environmentMarker, terminalUnit } from "./shell.ts";

/**
 * Returns a function that lists the living processes of the session: those in its unit, in the shell's session or with its
 * environment marker, and their descendants, since `sudo` drops the marker and may open another session. A process that was seen once
 * stays in the list while it lives, also when its parents are dead.
 */
export function terminalProcesses(
  sessionId: string,
  leader: ProcessId | undefined,
  listProcesses: () => Promise<ProcessTable>,
): () => Promise<number[]> {
  const marks = { leader, marker: environmentMarker(sessionId), unit: terminalUnit(sessionId) };
  /** Start times by pid. */
  const seen = new Map<number, string>();
  return async () => {
    const processes = await listProcesses();
    for (const pid of withDescendants(processesOf(marks, processes), processes)) {
      const found = processes.get(pid);
      if (found !== undefined && pid !== process.pid) seen.set(pid, found.startTime);
    }
    return [...seen]
      .filter(([pid, startTime]) => processes.get(pid)?.startTime === startTime)
      .map(([pid]) => pid);
  };
}
