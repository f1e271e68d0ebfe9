// Decides whether a container ended by itself or was stopped by somebody, from the events that the daemon still remembers.
import { AgentError } from "../../lib/agent-error.ts";
import { seconds } from "../../lib/duration.ts";
import { EventLine, type Inspected, parseAnswer } from "./answers.ts";
import { get } from "./call.ts";
import type { DockerClient } from "./client.ts";
import type { EndedJobs } from "./ended-jobs.ts";
import { jsonLines } from "./lines.ts";
import { watch } from "./limits.ts";

/** The daemon writes the event up to this long after the time that it gives as the end. */
const LATE_SECONDS = 2;

/** The query for the events of one run of a container. Uses the daemon's own times: its clock may differ from ours. */
export function endingQuery(id: string, { State }: Pick<Inspected, "State">): Record<string, unknown> {
  const second = (time: string): number => Math.floor(Date.parse(time) / 1_000) || 0;
  return {
    since: second(State.StartedAt),
    until: second(State.FinishedAt) + LATE_SECONDS,
    filters: { container: [id], event: ["kill", "die"] },
  };
}

/** Signals that notify a program (HUP, USR1, USR2, CHLD, CONT, WINCH); all others are sent to end it. */
const HARMLESS: ReadonlySet<string> = new Set(["1", "10", "12", "17", "18", "28"]);

/**
 * Resolves with true when the events contain the end and no signal before it. After a restart the daemon remembers
 * neither: it may have stopped the container itself, as a reboot does, so the answer is false.
 */
export async function endedByItself(events: AsyncIterable<unknown>): Promise<boolean> {
  for await (const line of events) {
    const { Action, Actor } = parseAnswer(EventLine, line);
    if (Action === "die") return true;
    if (Action === "kill" && !HARMLESS.has(Actor.Attributes["signal"] ?? "")) return false;
  }
  return false;
}

/** The daemon answers from memory at once; when it waits for more events, it does not remember the end. */
const LIMIT = seconds(5);

export type IsJobDone = (id: string, inspected: Inspected, signal: AbortSignal) => Promise<boolean>;

/**
 * Returns a function that resolves with true when a container ended with 0 by itself. An end that the daemon does not
 * remember counts as no: running a job twice is better than leaving a service down after a reboot. Throws as the client
 * does, except for `docker.gone` and `docker.refused`, which also count as no.
 */
export function createJobCheck(client: DockerClient, known: EndedJobs | undefined): IsJobDone {
  return async (id, inspected, signal) => {
    const { ExitCode, FinishedAt } = inspected.State;
    if (ExitCode !== 0) return false;
    if (known?.has(id, FinishedAt) === true) return true;
    using limit = watch(LIMIT, () => new AgentError("docker.gone", "Docker has no event of its end"), signal);
    const ask = async (): Promise<boolean> =>
      endedByItself(jsonLines(await client.open(get("/events", endingQuery(id, inspected)), limit.signal)));
    const isDone = await limit.race(ask()).catch((error: unknown) => {
      const failed = client.failure(error);
      if (failed.code === "docker.gone" || failed.code === "docker.refused") return false;
      throw failed;
    });
    if (isDone) known?.add(id, FinishedAt);
    return isDone;
  };
}
