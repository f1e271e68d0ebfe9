// Keeps since when each container has been in its state, by our own steady clock. Pure.
//
// Docker's times are not compared with ours: its clock may differ, or be set while a container runs or is stopped, and a
// container whose end lies in the future of our clock would never be restarted.
import type { SteadyTime } from "../../lib/clock.ts";
import type { ContainerState } from "../plan/observed.ts";

export interface Sighting {
  readonly state: ContainerState;
  /** Docker's time of the end that was seen, to tell a second end from the first; empty while it runs. */
  readonly finishedAt: string;
  /** When a snapshot showed it in this state, or with this end, for the first time. */
  readonly since: SteadyTime;
}

/** By id of the container. */
export type Sightings = ReadonlyMap<string, Sighting>;

/** Returns `before` while the container is in the same state with the same end, otherwise a new sighting from `at` on. */
export function sight(
  before: Sighting | undefined,
  { state, finishedAt }: Pick<Sighting, "state" | "finishedAt">,
  at: SteadyTime,
): Sighting {
  return before?.state === state && before.finishedAt === finishedAt
    ? before
    : { state, finishedAt, since: at };
}
