// Whether a container ended by itself, or was stopped by somebody: read from the events that the daemon still remembers.
import { AgentError } from "../../lib/agent-error.ts";
import { seconds } from "../../lib/duration.ts";
import { EventLine, type Inspected, parseAnswer } from "./answers.ts";
import type { Call } from "./call.ts";
import { jsonLines } from "./lines.ts";
import { watch } from "./limits.ts";
import type { EndedJobs } from "../reconcile/ended-jobs.ts";

/** The daemon writes an event a moment after the time that it notes as the end. */
const LATE_SECONDS = 2;

/** Asks for the events of one run of a container. The daemon's own times: its clock need not be ours. */
export function endingQuery(id: string, { State }: Pick<Inspected, "State">): Record<string, unknown> {
  const second = (time: string): number => Math.floor(Date.parse(time) / 1_000) || 0;
  return {
    since: second(State.StartedAt),
    until: second(State.FinishedAt) + LATE_SECONDS,
    filters: { container: [id], event: ["kill", "die"] },
  };
}

/** Signals that only say something to a program; others are sent to end it. */
const HARMLESS: ReadonlySet<string> = new Set(["1", "10", "12", "17", "18", "28"]);

/**
 * True when the daemon tells of the end, and of no signal before it. A daemon that has been restarted since tells of
 * neither: it may have stopped the container itself, as a reboot does.
 */
export async function endedByItself(events: AsyncIterable<unknown>): Promise<boolean> {
  for await (const line of events) {
    const { Action, Actor } = parseAnswer(EventLine, line);
    if (Action === "die") return true;
    if (Action === "kill" && !HARMLESS.has(Actor.Attributes["signal"] ?? "")) return false;
  }
  return false;
}

/** The daemon answers from memory; where it waits for more events, it has none of that end. */
const LIMIT = seconds(5);

type Open = (call: Pick<Call, "path" | "query">, signal: AbortSignal) => Promise<AsyncIterable<Uint8Array>>;

/**
 * Returns the question whether a container ended with 0 by itself. What the daemon does not remember counts as no: to run a
 * job twice is better than to leave a service down after a reboot. `open` asks the daemon, `failure` words its errors.
 */
export function createJobs(
  known: EndedJobs | undefined,
  open: Open,
  failure: (error: unknown) => AgentError,
): (id: string, inspected: Inspected, signal: AbortSignal) => Promise<boolean> {
  return async (id, inspected, signal) => {
    const { ExitCode, FinishedAt } = inspected.State;
    if (ExitCode !== 0) return false;
    if (known?.has(id, FinishedAt) === true) return true;
    using limit = watch(LIMIT, () => new AgentError("docker.gone", "no word of its end"), signal);
    const ask = async (): Promise<boolean> =>
      endedByItself(
        jsonLines(await open({ path: "/events", query: endingQuery(id, inspected) }, limit.signal)),
      );
    const isDone = await limit.race(ask()).catch((error: unknown) => {
      const failed = failure(error);
      if (failed.code === "docker.gone" || failed.code === "docker.refused") return false;
      throw failed;
    });
    if (isDone) known?.add(id, FinishedAt);
    return isDone;
  };
}
